"""Map the top-level folders to sub-packages of edgesr (see docs/adr/0001-layout.md)."""

from setuptools import find_packages, setup

FOLDERS = ["model", "export", "quant", "runtime", "android_bench"]
CORE = [f"edgesr.{p.removeprefix('core.')}" for p in find_packages(include=["core.*"])]
TOP = [f"edgesr.{p}" for p in find_packages(include=[g for f in FOLDERS for g in (f, f"{f}.*")])]
setup(
    packages=["edgesr", *CORE, *TOP],
    package_dir={"edgesr": "core", **{f"edgesr.{f}": f for f in FOLDERS}},
)
