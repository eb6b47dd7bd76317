# Two commands for a fresh clone: `make demo` and `make test`. Both create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo-out
PHOTO := docs/demo/photo.png

.PHONY: demo test check test-slow npu-deps emulator-deps media-deps browser-deps kit-deps runner test-emulator bench-cuda train clean

$(STAMP): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

# The main job on the bundled weights and a real photograph: an INT8 file, its proof, and a picture to look at.
demo: $(STAMP)
	$(BIN)/edgesr export spanv2_x4 --target tflite-int8 --target tflite-fp32 -o $(DEMO)
	$(BIN)/edgesr verify parity $(DEMO)
	$(BIN)/python docs/demo/make_picture.py $(DEMO)/spanv2_x4-int8.tflite $(PHOTO) $(DEMO)/before_after.png
	@echo "INT8 file:     $(DEMO)/spanv2_x4-int8.tflite"
	@echo "proof:         $(DEMO)/manifest.json"
	@echo "before, after: $(DEMO)/before_after.png"

# Lint, format, types.
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder \
	  -m "not slow and not emulator and not device and not gpu"

# Minutes: official weights on whole data sets. Needs EDGESR_SHARED (default ../shared).
test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

# Compilers and emulators of NPU vendors, and the tests that need them. Their licences are the user's own affair.
npu-deps: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[qnn,ethos-u]"

# The table of docs/adr/0012-cuda.md, on a machine with an NVIDIA GPU and PyTorch's CUDA build; refuses anywhere else.
bench-cuda: $(STAMP)
	$(BIN)/python docs/bench_cuda.py

# An arm64 device on this machine, behind the real adb: Debian's packages (sudo where you are not root), arm64 programs
# and the runner in your cache folder. See docs/adr/0010-emulated-device.md.
EMULATOR_PACKAGES := adb qemu-user proot gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := $(SUDO) apt-get -q -o Acquire::Retries=3
APT_INSTALL := $(APT) update && $(APT) install -y --no-install-recommends

emulator-deps: $(STAMP)
	dpkg -s $(EMULATOR_PACKAGES) > /dev/null 2>&1 || { $(APT_INSTALL) $(EMULATOR_PACKAGES); }
	$(BIN)/python -m edgesr.android_bench.emulated.userland --if-missing
	$(BIN)/python -m edgesr.android_bench.runner.build linux-arm64 --if-missing

# ffmpeg, for videos in edgesr run; the tests that need it skip where it is absent.
MEDIA_PACKAGES := ffmpeg

media-deps:
	command -v ffmpeg > /dev/null && command -v ffprobe > /dev/null || { $(APT_INSTALL) $(MEDIA_PACKAGES); }

# Headless Chromium, in which the tests look at reports: Debian's package (sudo where you are not root).
BROWSER_PACKAGES := chromium

browser-deps:
	dpkg -s $(BROWSER_PACKAGES) > /dev/null 2>&1 || { $(APT_INSTALL) $(BROWSER_PACKAGES); }

# Compilers of the deployment kit's loaders, C++ and Kotlin; their tests skip without.
KIT_PACKAGES := g++ kotlin

kit-deps:
	command -v g++ > /dev/null && command -v kotlinc > /dev/null || { $(APT_INSTALL) $(KIT_PACKAGES); }

# The program that times files on a device, for 64-bit Arm Linux (and phones, CPU only).
runner: $(STAMP)
	$(BIN)/python -m edgesr.android_bench.runner.build linux-arm64

test-emulator: npu-deps emulator-deps
	EDGESR_REQUIRE_EMULATOR=1 $(BIN)/python -m pytest -q -m "emulator or device"

# SPANV2 x4 from a folder of photographs, in two hours of two cores: make train PHOTOS=path/to/photographs
train: $(STAMP)
	$(BIN)/edgesr train --config spanv2_x4_cpu --images $(PHOTOS) --output spanv2_x4.safetensors

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
