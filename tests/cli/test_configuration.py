"""edgesr.toml, --config, --no-config, --set and edgesr config: which value wins, and what is refused in which words."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from edgesr.cli import cli
from edgesr.cli.export import EFFORTS
from edgesr.cli.option_values import leaf_commands, option_keys, parse_setting, written

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"

Run = Callable[..., Any]
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write edgesr.toml into a folder that then is the current one."""
    folder = tmp_path / "place with spaces"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def put(text: str) -> Path:
        path = folder / "edgesr.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return put


def in_force(run: Run, *arguments: object) -> dict[str, Any]:
    """What `edgesr config --json` says of the command that its last arguments name."""
    found: dict[str, dict[str, Any]] = json.loads(run(*arguments, "--json").done())["options"]
    (options,) = found.values()
    return options


def test_settings_beat_the_file_which_beats_the_default(run: Run, write: Write) -> None:
    write('[export]\neffort = "best"\nmax-drop = 1\nnpu = "generic"\n')
    assert in_force(run, "--no-config", "config", "export")["effort"] == EFFORTS[0]
    from_file = in_force(run, "config", "export")
    assert (from_file["effort"], from_file["max-drop"], from_file["npu"]) == ("best", 1, ["generic"])
    set_too = in_force(run, "--set", "export.effort=balanced", "--set", "export.max-drop = 0.5", "config", "export")
    assert (set_too["effort"], set_too["max-drop"], set_too["io"]) == ("balanced", 0.5, None)


def test_the_command_line_beats_the_file(run: Run, write: Write) -> None:
    """Runs of a command that refuses one of the values, each by that of the next source."""
    write('[export]\nmax-drop = -1\noutput = "out"\n')
    assert "--max-drop -1 is no positive number" in run("export").err
    assert "--max-drop -2 is no positive number" in run("export", "--set", "max-drop=-2").err
    assert "--max-drop -3 is no positive number" in run("--set", "export.max-drop=-3", "export").err
    assert "--max-drop -4 is no positive number" in run("export", "--max-drop", "-4").err
    assert "Missing option '--output' / '-o'" in run("--no-config", "export").refused(2)


def test_the_file_that_was_used_is_named(run: Run, write: Write) -> None:
    path = write("[targets]\njson = true\n")
    outcome = run("targets")
    assert (outcome.code, outcome.err) == (0, "configuration: edgesr.toml\n")
    assert json.loads(outcome.out)["targets"]
    assert run("models").err == "" and run("--no-config", "targets").err == "", "it gave them nothing"
    assert run("--config", path, "targets", "--quiet").err == ""


def test_paths_start_at_the_folder_of_the_file(run: Run, tmp_path: Path, write: Write) -> None:
    path = write('[verify.parity]\nimages = "pictures"\n[run]\ninput = "-"\noutput = "/absolute/out.png"\n')
    os.chdir(tmp_path)
    assert in_force(run, "--config", path, "config", "verify", "parity")["images"] == str(path.parent / "pictures")
    options = in_force(run, "--config", path, "config", "run")
    assert (options["input"], options["output"]) == ("-", "/absolute/out.png")
    set_too = in_force(run, "--set", "verify.parity.images=here", "config", "verify", "parity")
    assert set_too["images"] == "here", "a setting's path starts at the current folder, as an option's does"


def test_groups_and_the_command_that_bench_runs_have_tables(run: Run, write: Write) -> None:
    write('[bench]\nruns = 7\nthreads = [1, "2,4"]\nmemory = false\n[bench.compare]\nfail-on = "slower"\n')
    options = json.loads(run("config", "bench", "--json").done())["options"]
    assert (options["bench"]["runs"], options["bench"]["threads"]) == (7, ["1", "2,4"])
    assert options["bench"]["memory"] is False and options["bench.compare"]["fail-on"] == "slower"
    assert "missing.json" in run("bench", "compare", "missing.json", "b.json").err.splitlines()[-1]
    assert "no-such" in run("bench", "no-such").err.splitlines()[-1]


def test_values_of_a_file_that_have_no_use_here_are_no_misuse(run: Run, write: Write) -> None:
    """A file serves several devices; what is typed for the wrong one is refused."""
    write("[bench]\ndelay-ms = 5\n")
    assert "does not exist" in run("bench", "no-such").err
    assert "--delay-ms has no use" in run("--no-config", "bench", "no-such", "--set", "delay-ms=6").refused(2)


def test_a_table_is_the_arguments_of_a_class(run: Run, write: Write) -> None:
    write('[export.init]\nupscale = 4\nnames = ["a"]\n')
    assert in_force(run, "config", "export")["init"] == {"upscale": 4, "names": ["a"]}
    assert "init" in run("export", "spanv2_x4", "-o", "out").err, "given to a bundled model, which has no constructor"


REFUSED = [
    ("[export\n", "Expected ']' at the end of a table declaration (at line 1, column 8)"),
    ('[export]\neffort = "best"\neffort = "fast"\n', "(at line 3, column 16)"),
    ('[exprt]\neffort = "best"\n', "[exprt] is no command's table; did you mean export?"),
    ("[verify.party]\n", "[verify.party] is no command's table; did you mean verify.parity?"),
    ("[zzzz]\n", "choose from export"),
    ('effort = "best"\n', "effort stands in no table"),
    ("[verify]\nrunner = 1\n", "runner stands in [verify]"),
    ("export = 3\n", "export is a command; write its options under [export]"),
    ('[export]\nefort = "best"\n', "[export] efort: edgesr export has no such option; did you mean effort?"),
    ("[export]\nmax_drop = 1\n", "did you mean max-drop?"),
    ('[export]\nt = "tflite-int8"\n', "did you mean target?"),
    ('[export]\nfrom = "manifest.json"\n', "edgesr export has no such option"),
    ('[export]\nset = "a=b"\n', "edgesr export has no such option"),
    ('[export]\nmodel = "spanv2_x4"\n', "MODEL is no option; name it on the command line"),
    ("[export]\neffort = 3\n", "[export] effort: 3 is a whole number; write a text in quotes"),
    ('[export]\neffort = "bset"\n', "[export] effort: 'bset' is not one of"),
    ('[export]\ntarget = ["tflite-int7"]\n', "[export] target: no target is called 'tflite-int7'; did you mean"),
    ('[export]\nmax-drop = "0.1"\n', "[export] max-drop: '0.1' is a text; write a number"),
    ("[export]\nmax-drop = true\n", "True is true or false; write a number"),
    ('[export]\nsize = "big"\n', "[export] size: 'big' is no size; write height x width"),
    ("[export]\nsize = [[270, 480]]\n", "[270, 480] is a list; write it like HxW"),
    ('[export]\neffort = ["best"]\n', "['best'] is a list; write a text in quotes"),
    ('[export]\nexplain = "yes"\n', "'yes' is a text; write true or false"),
    ('[export]\ncalib = ""\n', "an empty text is no path"),
    ('[export]\ncalib = "a\\u0000b"\n', "null character"),
    ("[export.init]\nday = 2026-11-27\n", "JSON has no form for this table"),
    ("[bench]\nruns = 0\n", "[bench] runs: 0 is not in the range x>=1"),
    ("[bench]\nruns = 1.5\n", "runs: 1.5 is a number; write a whole number"),
    ("[bench]\nthreads = [1, 0]\n", "[bench] threads: 0 is not in the range"),
    ('[bench]\ndevice = "hsot"\n', "[bench] device: no device is called 'hsot'; choose host"),
    ("[verify.quality]\nmax-drop = nan\n", "[verify.quality] max-drop: 'nan' is no number of decibels"),
    ("a = " + "[" * 5000, "is no TOML"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[text[:30].replace("\n", " ") for text, _ in REFUSED])
def test_files_that_are_refused(run: Run, write: Write, text: str, words: str) -> None:
    """By any command, in one line that names the file."""
    write(text)
    message = run("models").refused()
    assert message.startswith("edgesr.toml") and words in message, message


def test_files_that_cannot_be_read(run: Run, write: Write, tmp_path: Path) -> None:
    missing = run("--config", tmp_path / "none.toml", "models").refused()
    assert missing.startswith(f"{tmp_path / 'none.toml'}: no such file")
    assert "is a folder" in run("--config", tmp_path, "models").refused()
    path = write("")
    path.write_bytes(b'[export]\neffort = "\xff"\n')
    assert "is no text in UTF-8 (byte 19)" in run("models").refused()
    path.unlink()
    path.symlink_to("nowhere")
    assert "no such file" in run("models").refused(), "a link that leads nowhere is no absent file"
    path.unlink()
    path.mkdir()
    assert "is a folder" in run("models").refused()
    assert run("--no-config", "models").code == 0


def test_help_answers_whatever_the_file_holds(run: Run, write: Write) -> None:
    write("[export")
    assert "--effort" in run("export", "--help").done() and "--config" in run("--help").done()


MISUSED = [
    (("export", "--set", "effort"), "'effort' is no setting; write key=value"),
    (("export", "--set", "=best"), "is no setting"),
    (("export", "--set", "effort..x=best"), "is no setting"),
    (("export", "--set", "effort="), "has no TOML value"),
    (("export", "--set", "efort=best"), "edgesr export has no such option; did you mean effort?"),
    (("export", "--set", "effort=5"), "'5' is not one of"),
    (("export", "--set", 'effort="best'), "has no TOML value"),
    (("export", "--set", "target=[tflite-int8]"), "quote texts, also those in lists"),
    (("export", "--set", "max-drop=much"), "'much' is a text; write a number"),
    (("export", "--set", "bench.runs=3"), "it is for edgesr bench, and edgesr export runs"),
    (("export", "--set", "exprt.effort=best"), "there is no command exprt; did you mean export?"),
    (("export", "--set", "effort=best", "--set", "export.effort=fast"), "--set gives effort twice"),
    (("--set", "export.effort=best", "export", "--set", "effort=fast"), "--set gives effort twice"),
    (("--set", "effort=best", "export"), "it names no command; write export.effort"),
    (("export", "--set", "effort=best", "--effort", "fast", "-o", "out"), "--effort is given twice, by --set too"),
    (("export", "--set", "effort='best'\nx=1"), "more than one setting"),
    (("--config", "a.toml", "--no-config", "models"), "--config and --no-config contradict each other"),
    (("--set", "exprt.effort=best", "config"), "there is no command exprt"),
    (("config", "exprt"), "no command exprt; did you mean export?"),
    (("config", "zzzz"), "choose from export, verify parity"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSED, ids=lambda value: str(value)[:40])
def test_settings_that_are_refused(run: Run, write: Write, arguments: tuple[str, ...], words: str) -> None:
    assert words in run(*arguments).refused(2)


def test_values_of_settings() -> None:
    """Quoted is text, unquoted is what the option wants."""
    assert parse_setting("a.b = [1, 2]") == (("a", "b"), [1, 2])
    assert parse_setting('a="x = y"') == (("a",), "x = y")
    assert parse_setting("a=270x480") == (("a",), "270x480")
    bare = parse_setting("a=5")[1]
    assert (getattr(bare, "text", None), getattr(bare, "value", None)) == ("5", 5)


def test_what_config_prints_is_a_file_that_says_the_same(run: Run, write: Write) -> None:
    write('[export]\nsize = ["8x8"]\ninit = { "a b" = [1, "x\\"y\\u007f"] }\ncalib = "öäü"\n')
    printed = run("config").done()
    before = json.loads(run("config", "--json").done())["options"]
    write(printed)
    assert json.loads(run("config", "--json").done())["options"] == before
    assert before["export"]["init"] == {"a b": [1, 'x"y\x7f']}
    assert {".".join(path) for path in leaf_commands(cli)} - {"config"} == set(before)


def test_values_as_toml_writes_them() -> None:
    import tomllib

    for value in (True, 3, 0.5, 1e-9, 'a\\"\n\t\x01', ["a", 1], {"k y": {"z": False}}):
        assert tomllib.loads(f"value = {written(value)}")["value"] == value


def examples() -> list[str]:
    """The TOML blocks of the page."""
    return [block.split("```", 1)[0] for block in PAGE.read_text(encoding="utf-8").split("```toml\n")[1:]]


def test_the_example_of_the_page_is_complete_and_holds(run: Run, write: Write) -> None:
    """Every option of every command stands in its first block, in a comment or not, and all blocks are taken."""
    listed: dict[str, set[str]] = {}
    for line in examples()[0].splitlines():
        if line.startswith("["):
            keys = listed.setdefault(line.strip("[]"), set())
        elif "=" in line:
            keys.add(line.lstrip("# ").partition("=")[0].strip())
    expected = {".".join(path): set(option_keys(command)) for path, command in leaf_commands(cli).items()}
    assert {name for name in expected if name not in listed} <= {"config"}
    for name, keys in listed.items():
        assert keys == expected[name], f"[{name}] of docs/configuration.md lacks or has too much"
    for block in examples():
        write(block)
        assert run("config").code == 0
        write("\n".join(line.removeprefix("# ") if "=" in line else line for line in block.splitlines()))
        assert run("config").code == 0, "with what stands in comments, too"


def test_every_command_takes_settings() -> None:
    for path, command in leaf_commands(cli).items():
        names = [name for param in command.params for name in param.opts]
        assert names.count("--set") == 1, path
        assert all(isinstance(key, str) and key for key in option_keys(command))
        assert isinstance(command, click.Command)
