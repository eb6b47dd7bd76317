"""`python -m edgesr.model.training --images DIR --steps N --output FILE.safetensors [--resume]`.

Trains SPANV2 x4 on a folder of photographs. FILE holds the averaged weights and says in its metadata how they came
about; FILE.state beside it holds what `--resume` needs. Both are written anew at every save.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from edgesr.atomic import write_atomically
from edgesr.errors import EdgeSRError
from edgesr.model.spanv2 import SPANV2
from edgesr.model.training.dataset import load_pairs
from edgesr.model.training.train import TrainConfig, TrainState, start, train

SCALE = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 after printing a one-line error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.output.suffix != ".safetensors":
        parser.error(f"--output {options.output} must end in .safetensors")
    try:
        config = _config(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        _run(options, config)
    except EdgeSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    defaults = TrainConfig(steps=1)
    parser = argparse.ArgumentParser(prog="python -m edgesr.model.training", description="Train SPANV2 x4.")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--output", type=Path, required=True, help="weights file to write (.safetensors)")
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT.state")
    parser.add_argument("--minutes", type=float, default=defaults.max_minutes, help="finish within this time")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="crops per step (default %(default)s)")
    parser.add_argument("--crop", type=int, default=defaults.crop, help="side of an LR crop (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default %(default)s")
    parser.add_argument("--save-every", type=int, default=defaults.save_every, help="steps (default %(default)s)")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: torch's)")
    return parser


def _config(options: argparse.Namespace) -> TrainConfig:
    """Make the run's config from the options; raise ValueError where they make none."""
    return TrainConfig(
        steps=options.steps,
        batch=options.batch,
        crop=options.crop,
        learning_rate=options.learning_rate,
        seed=options.seed,
        max_minutes=options.minutes,
        save_every=options.save_every,
    )


def _run(options: argparse.Namespace, config: TrainConfig) -> None:
    """Load, train and save."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    state = start(SPANV2, config)
    state_path = options.output.with_name(options.output.name + ".state")
    if options.resume:
        state.load(state_path)
    pairs = load_pairs(options.images, SCALE, config.crop)

    def save(reached: TrainState) -> None:
        _write_weights(reached, config, f"{len(pairs)} photographs of {options.images.name}", options.output)
        reached.save(state_path)

    train(state, pairs, SCALE, config, save, lambda line: print(line, flush=True))


def _write_weights(state: TrainState, config: TrainConfig, data: str, path: Path) -> None:
    """Write the averaged weights with the story of the run as metadata (safetensors metadata holds strings only)."""
    metadata = {
        "architecture": "spanv2",
        "config": json.dumps({"channels": 32, "blocks": 5, "scale": SCALE, "in_channels": 3}),
        "training_data": data,
        "training": repr(config),
        "steps": str(state.step),
        "seed": str(config.seed),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
    }
    weights = {key: value.contiguous() for key, value in state.average.state_dict().items()}
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(weights, metadata))


if __name__ == "__main__":
    sys.exit(main())
