"""The architectures that edgesr knows and the models that it brings: one explicit list each, and loading by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from edgesr.architecture import Architecture, SRModel
from edgesr.errors import CheckpointError
from edgesr.model.checkpoint import load_state_dict, sha256
from edgesr.model.disp import ARCHITECTURE as DISP
from edgesr.model.dscf import ARCHITECTURE as DSCF
from edgesr.model.errn2 import ARCHITECTURE as ERRN2
from edgesr.model.keys import first_few
from edgesr.model.lite_denoise_net import ARCHITECTURE as LITE_DENOISE
from edgesr.model.reparameterization import merge_branches
from edgesr.model.rfdn_span import ARCHITECTURE as RFDN_SPAN
from edgesr.model.span import ARCHITECTURE as SPAN
from edgesr.model.spanf import PDS, PKDSR
from edgesr.model.spanv2 import ARCHITECTURE as SPANV2

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
DEFAULT_MODEL = "spanv2_x4"
NEAR_MISSES = 3
"""How many of the closest architectures are named where none is recognised."""


@dataclass(frozen=True)
class BundledModel:
    """A model whose weights come with edgesr; `weights` is a file name in `model/weights/`."""

    name: str
    architecture: Architecture
    weights: str
    summary: str


ARCHITECTURES: tuple[Architecture, ...] = (SPANV2, SPAN, PKDSR, PDS, DISP, DSCF, ERRN2, RFDN_SPAN, LITE_DENOISE)

BUNDLED_MODELS: tuple[BundledModel, ...] = (
    BundledModel(
        name="spanv2_x4",
        architecture=SPANV2,
        weights="spanv2_x4.safetensors",
        summary="SPANV2 x4 trained by edgesr on 400 photographs of BSDS500 (see weights/spanv2_x4.md)",
    ),
)


def recognise(state: Mapping[str, Tensor]) -> Architecture:
    """Find the architecture whose signature keys `state` holds; raise CheckpointError, with near misses, for none."""
    for architecture in ARCHITECTURES:
        if architecture.recognises(state):
            return architecture
    closest = sorted(ARCHITECTURES, key=lambda architecture: -_matched(architecture, state))[:NEAR_MISSES]
    near_misses = ", ".join(_near_miss(architecture, state) for architecture in closest)
    raise CheckpointError(
        f"no known architecture has these keys ({first_few(state)}); {near_misses}; "
        "give weights of a listed architecture (edgesr models)"
    )


def _matched(architecture: Architecture, state: Mapping[str, Tensor]) -> float:
    """The share of an architecture's signature keys that are there."""
    return sum(key in state for key in architecture.signature_keys) / len(architecture.signature_keys)


def _near_miss(architecture: Architecture, state: Mapping[str, Tensor]) -> str:
    """Say how many signature keys of one architecture are there, and which are not."""
    missing = [key for key in architecture.signature_keys if key not in state]
    total = len(architecture.signature_keys)
    return f"{architecture.name} matches {total - len(missing)} of {total} keys (missing {first_few(missing)})"


def find_architecture(name: str) -> Architecture:
    """Find the architecture called `name`; raise CheckpointError, listing the known ones, for none."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    known = ", ".join(architecture.name for architecture in ARCHITECTURES)
    raise CheckpointError(f"no architecture is called {name!r}; choose one of {known}")


def find_bundled(name: str) -> BundledModel:
    """Find the bundled model called `name`; raise CheckpointError, listing what there is, for none."""
    for bundled in BUNDLED_MODELS:
        if bundled.name == name:
            return bundled
    known = ", ".join(bundled.name for bundled in BUNDLED_MODELS)
    raise CheckpointError(f"no bundled model is called {name!r}; choose one of {known}, or give a weights file")


def load_model(name: str | None = None, weights: Path | None = None) -> SRModel:
    """Load a bundled model by name (`spanv2_x4` if none is given), or recognise the weights in a file.

    A model from a file is called `<architecture>_x<scale>`; a `name` given beside `weights` must be that.

    Raises:
        CheckpointError: the name is unknown, the file is unusable, or the two contradict each other.

    """
    if weights is None:
        bundled = find_bundled(DEFAULT_MODEL if name is None else name)
        path = WEIGHTS_FOLDER / bundled.weights
        return _load(path, bundled.architecture, load_state_dict(path), f"bundled:{bundled.weights}", bundled.name)
    state = load_state_dict(weights)
    try:
        state = merge_branches(state)
        model = _load(weights, recognise(state), state, str(weights))
    except CheckpointError as error:
        raise CheckpointError(f"{weights}: {error}") from error
    if name is not None and name != model.name:
        raise CheckpointError(f"{weights}: these are {model.name} weights, not {name}; drop the name or give others")
    return model


def build_frozen(architecture: Architecture, config: Mapping[str, int], state: Mapping[str, Tensor]) -> nn.Module:
    """Build the module of `config` with the weights `state`, in eval mode and not trainable."""
    module = architecture.build(config)
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def _load(
    path: Path, architecture: Architecture, state: Mapping[str, Tensor], source: str, name: str | None = None
) -> SRModel:
    """Build the module for `state` and state its contract; the name is `<architecture>_x<scale>` unless given."""
    config = architecture.deduce(state)
    return SRModel(
        name=name or f"{architecture.name}_x{config['scale']}",
        architecture=architecture.name,
        module=build_frozen(architecture, config, state),
        config=config,
        scale=config["scale"],
        source=source,
        sha256=sha256(path),
        size_multiple=architecture.size_multiple,
    )
