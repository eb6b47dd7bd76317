"""docs/adding-a-model.md cannot go stale: its code is the tree's, and what it names, runs and prints is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from torch.nn import functional as F

from edgesr.cli import cli
from edgesr.errors import CheckpointError, UnsupportedOpError
from edgesr.export.capture import capture
from edgesr.model import registry
from edgesr.model.checkpoint import load_state_dict
from edgesr.model.registry import find_architecture, load_model, recognise

REPO = Path(__file__).parent.parent
PAGE = REPO / "docs" / "adding-a-model.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCED = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
BLOCKS: list[tuple[str, str]] = FENCED.findall(TEXT)
"""Each fenced block: what stands behind its fence, and what is inside."""
PROSE = FENCED.sub("", TEXT)
TREE = [(info.removeprefix("python "), code) for info, code in BLOCKS if info.startswith("python ")]
"""Pieces of files in the tree: the file, and the code."""
COMMANDS = [command for info, code in BLOCKS if info == "sh" for command in code.replace("\\\n", " ").splitlines()]
FOLDERS = ("core", "docs", "export", "model", "quant", "runtime", "tests")


def heading_links(markdown: str) -> set[str]:
    """What `#...` may name in a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(program: str) -> Iterator[list[str]]:
    for command in COMMANDS:
        if command.startswith(f"{program} "):
            yield shlex.split(command)[len(program.split()) :]


def block_with(words: str) -> str:
    """The one printed block that holds `words`."""
    (found,) = (code for info, code in BLOCKS if not info and words in code)
    return found


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def checkpoint(shared: Path) -> Path:
    return shared / "checkpoints" / "disp_x4.pth"


def test_every_block_is_code_of_the_tree_a_command_or_output() -> None:
    assert {info for info, _ in BLOCKS} == {"", "sh", *(f"python {file}" for file, _ in TREE)}
    assert TEXT.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize(("file", "code"), TREE, ids=[f"{i}-{file}" for i, (file, _) in enumerate(TREE)])
def test_code_is_in_the_tree_word_for_word(file: str, code: str) -> None:
    text = (REPO / file).read_text(encoding="utf-8")
    assert text.count(code) == 1, f"{PAGE.name} shows what {file} does not hold once: change the page with the file"


def test_the_architecture_file_is_there_whole() -> None:
    (code,) = (code for file, code in TREE if file == "model/disp.py")
    assert code == (REPO / "model" / "disp.py").read_text(encoding="utf-8")


def test_files_and_links_exist() -> None:
    named = set(re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", PROSE))
    assert {"model/disp.py", "model/reparameterization.py", "tests/test_tutorial.py"} <= named
    assert [name for name in named if not (REPO / name).exists()] == []
    for target in re.findall(r"\]\(([^)]+)\)", PROSE):
        path, _, heading = target.partition("#")
        page = PAGE.parent / path if path else PAGE
        assert page.is_file(), target
        assert not heading or heading in heading_links(page.read_text(encoding="utf-8")), target


def test_others_find_the_section_that_they_link_to() -> None:
    pages = (REPO / "README.md", REPO / "CONTRIBUTING.md", *PAGE.parent.rglob("*.md"))
    linked = {name for page in pages for name in re.findall(r"adding-a-model\.md#([\w-]+)", page.read_text("utf-8"))}
    assert linked <= heading_links(TEXT)


def test_names_in_the_text_are_in_the_code() -> None:
    for name in ("merge_branches", "require_network", "channels_of", "VOCABULARY", "PUBLISHED", "RELEASED", "EvalConv"):
        assert f"`{name}`" in PROSE
        sources = (
            path.read_text("utf-8") for folder in ("core", "model", "tests") for path in (REPO / folder).rglob("*.py")
        )
        assert any(re.search(rf"^(?:def |class )?{name}\b", source, re.MULTILINE) for source in sources), name


def test_commands_and_their_options_exist() -> None:
    lines = list(commands_of("edgesr"))
    assert [words[0] for words in lines] == ["export", "models", "export", "verify", "verify", "audit", "score"]
    for words in lines:
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_parser(click.Context(command)).parse_args(words)  # raises for an option that there is not


def test_the_tests_that_it_runs_exist() -> None:
    files = [word for words in commands_of("python -m pytest") for word in words if word.endswith(".py")]
    assert len(files) == 3
    assert [file for file in files if not (REPO / file).is_file()] == []


def test_the_keys_are_the_checkpoints(checkpoint: Path) -> None:
    lines = [f"{key} {tuple(value.shape)}" for key, value in load_state_dict(checkpoint).items()]
    shown = block_with("blocks.0.c1_r.eval_conv.weight (32,").splitlines()
    cut = next(i for i, line in enumerate(shown) if line.startswith("[..."))
    after = len(shown) - cut - 1
    assert shown[:cut] == lines[:cut] and shown[cut + 1 :] == lines[-after:]
    assert all(re.match(r"blocks\.[123]\.", line) for line in lines[cut:-after])


def test_what_it_says_before_the_family_is_known(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disp = find_architecture("disp")
    monkeypatch.setattr(registry, "ARCHITECTURES", tuple(known for known in registry.ARCHITECTURES if known != disp))
    with pytest.raises(CheckpointError) as caught:
        recognise(load_state_dict(checkpoint))
    assert joined(block_with("no known architecture")) == f"edgesr: disp_x4.pth: {caught.value}"


def test_what_it_says_of_a_wrong_name(checkpoint: Path) -> None:
    state = load_state_dict(checkpoint)
    with pytest.raises(CheckpointError) as caught:
        find_architecture("disp").deduce({key.replace("c3_r", "c4_r"): value for key, value in state.items()})
    said = str(caught.value).replace("c3_r", "?").replace("c4_r", "c3_r").replace("?", "c4_r")
    assert joined(block_with("8 missing")) == f"edgesr: disp_x4.pth: {said}"


def test_what_it_says_of_an_operator_that_capture_refuses(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "silu", F.gelu)
    with pytest.raises(UnsupportedOpError) as caught:
        capture(load_model(weights=checkpoint))
    assert joined(block_with("aten.gelu")) == f"edgesr: {caught.value}"
