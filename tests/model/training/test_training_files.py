from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgesr.model.training.config import NoiseConfig, TrainingConfig
from edgesr.model.training.model_card import CardFacts, write_card
from edgesr.model.training.training_log import LogRecord, TrainingLog
from edgesr.model.training.training_plot import draw_training

RECORD = LogRecord(1, 1, 1e-3, 0.05, 26.0, "00000000", 1.0, 9.0)


def records(count: int) -> list[LogRecord]:
    return [
        replace(RECORD, step=i, stage=1 + (i > 3), loss=0.1 / i, validation_psnr_db=25.0 + i if i % 2 else None)
        for i in range(1, count + 1)
    ]


def test_a_log_is_read_as_it_was_written_and_cut_where_a_run_goes_on(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "run.jsonl")
    log.begin(0)
    for record in records(5):
        log.append(record)
    assert log.records() == records(5)
    with log.path.open("a") as file:
        file.write('{"step": 6, "sta')
    assert log.records() == records(5)
    log.begin(3)
    assert log.records() == records(3)
    log.begin(0)
    assert log.records() == []


def test_the_plot_holds_every_point_and_the_edge_of_stages() -> None:
    picture = draw_training(records(6), "spanv2_x2 <&>")
    root = ElementTree.fromstring(picture)
    lines = [e.attrib["points"].split() for e in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in lines] == [6, 6, 3, 6]
    assert picture.count('stroke-dasharray="3 3"') == 3
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights)  # the loss falls, and down is up in SVG
    assert "nothing logged yet" in draw_training([], "empty")


@pytest.fixture
def facts(two_stages: TrainingConfig) -> CardFacts:
    return CardFacts(
        two_stages, "spanv2_x2", 1234, {"channels": 4, "scale": 2}, "3 photographs of pictures", 6, 1.5, 2, "a machine"
    )


def test_a_card_says_data_run_quality_and_limits(facts: CardFacts) -> None:
    card = write_card(replace(facts, psnr_db=31.234, validation="5 photographs of other", notes=("1 of 4 left out",)))
    for words in (
        "# spanv2_x2", "x2 super-resolution", "1,234 parameters", "31.23 dB on 5 photographs of other", "2 pixels cut",
        "3 photographs of pictures, reduced x2", "6 of 6 steps, 1.5 minutes on a machine, 2 processes",
        "Stage 1: 4 steps of 2 LR crops of 6x6; loss 1 l1", "Stage 2: 2 steps", "Note: 1 of 4 left out", "Limits: ",
    ):  # fmt: skip
        assert words in card
    assert "not measured" in write_card(facts)


def test_the_card_of_a_denoiser_says_which_noise(facts: CardFacts, two_stages: TrainingConfig) -> None:
    card = write_card(replace(facts, config=replace(two_stages, scale=1, noise=NoiseConfig(5, 25)), teacher="big, 0.9"))
    assert "for denoising" in card and "Gaussian noise of 5 to 25 levels" in card and "Teacher: big, 0.9" in card
