from dataclasses import replace
from pathlib import Path

import pytest

from edgesr.errors import TrainingError
from edgesr.model.training.config import Device, LossWeights, Precision, TrainingConfig
from edgesr.model.training.config_file import differences, flatten, load_config, shipped_configs
from edgesr.model.training.network import plan_network

STAGES = "[[stages]]\nsteps = 5\nbatch = 2\ncrop = 16\nlearning_rate = 1\nlosses = { l1 = 1, fft = 0.05 }\n"
HEAD = 'architecture = "spanv2"\nscale = 4\n'


def read(tmp_path: Path, text: str) -> TrainingConfig:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return load_config(path)


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    tables = '[network]\nblocks = 3\n[teacher]\nweights = "t.pth"\n[run]\ndevice = "cpu"\n'
    config = read(tmp_path, HEAD + 'images = "photos"\nprecision = "bf16"\n' + tables + STAGES)
    assert config.images == Path("photos") and config.network == {"blocks": 3} and config.precision is Precision.BF16
    assert config.run.device is Device.CPU and config.teacher is not None and config.teacher.weights == Path("t.pth")
    (stage,) = config.stages
    assert stage.learning_rate == 1.0 and stage.losses == LossWeights(l1=1.0, fft=0.05)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "sed = 1\n" + STAGES, "unknown key 'sed'; did you mean 'seed'"),
        (HEAD + STAGES + "learnig_rate = 1\n", r"unknown key 'stages\[0\].learnig_rate'; did you mean 'learning_rate'"),
        (HEAD + "xyz = 1\n" + STAGES, "unknown key 'xyz'; known are architecture, scale"),
        (HEAD, "'stages' is missing"),
        (HEAD + STAGES.replace("crop = 16\n", ""), r"'stages\[0\].crop' is missing"),
        (HEAD.replace("4", '"4"') + STAGES, "scale is '4', wanted int"),
        (HEAD.replace("4", "true") + STAGES, "scale is True, wanted int"),
        (HEAD + 'precision = "int8"\n' + STAGES, "precision is 'int8'; choose from float32, bf16, fp16"),
        (HEAD + "network = 3\n" + STAGES, r"network is 3, wanted a table \[network\]"),
        (HEAD + "[network]\nblocks = 2.5\n" + STAGES, "network.blocks is 2.5, wanted int"),
        (HEAD + STAGES.replace("steps = 5", "steps = 0"), "steps, batch and crop are at least 1"),
        ("scale = ", "is no TOML"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "run.toml")) and "\n" not in str(caught.value)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot read .*none\.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(TrainingError, match="called 'spanv2_x44'; did you mean spanv2_x4"):
        load_config("spanv2_x44")
    with pytest.raises(TrainingError, match=r"called .zzz.; choose from .*spanv2_x4_cpu"):
        load_config("zzz")


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations_name_networks_that_can_be_built(name: str) -> None:
    config = load_config(name)
    assert name.startswith(f"{config.architecture}_x{config.scale}")
    assert sum(p.numel() for p in plan_network(config).build(0).parameters()) * 4 < 600_000


def test_only_what_decides_the_result_is_compared(two_stages: TrainingConfig) -> None:
    faster = replace(two_stages, run=replace(two_stages.run, compile=True, save_every_s=5), images=Path("elsewhere"))
    assert flatten(faster) == flatten(two_stages)
    first = replace(two_stages.stages[0], batch=8, losses=LossWeights(l1=1.0, fft=0.1))
    other = replace(two_stages, seed=3, stages=(first, *two_stages.stages[1:]))
    assert differences(flatten(two_stages), flatten(other)) == [
        "stages[0].batch: 2 -> 8",
        "stages[0].losses.fft: 0.0 -> 0.1",
        "seed: 0 -> 3",
    ]
    assert differences({"a": "1"}, {"b": "2"}) == ["a: 1 -> none", "b: none -> 2"]
