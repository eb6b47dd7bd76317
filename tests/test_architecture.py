"""The folders are the architecture. ALLOWED and CORE_ALLOWED are its arrows; the rest keeps the mapping honest."""

import ast
import importlib
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "export": {"model"},
    "quant": {"export"},
    "runtime": set(),
    "android_bench": {"runtime"},
}
"""Which sub-packages each one may import, core's own modules apart, which all may."""
ABOVE = ("api", "cli")
"""The parts of core that see everything, and that nothing below may see."""
MAX_LINES = 400
CORE_MODULES = {path.stem for path in (REPO / "core").glob("*.py")} - {"__init__"}
SHIPPED = sorted(path for folder in ("core", *ALLOWED) for path in (REPO / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(REPO))


def imported(path: Path) -> set[str]:
    """The modules and sub-packages of edgesr that a file imports anywhere in it, by their first name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{named(path)} imports relatively; name edgesr in full"
            module = node.module or ""
            names |= {f"edgesr.{alias.name}" for alias in node.names} if module == "edgesr" else {module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("edgesr.")}


def test_the_table_lists_the_folders() -> None:
    packages = {path.parent.name for path in REPO.glob("*/__init__.py")} - {"tests", "core"}
    assert packages == set(ALLOWED)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_follow_the_arrows(package: str) -> None:
    for path in sorted((REPO / package).rglob("*.py")):
        extra = imported(path) - ALLOWED[package] - CORE_MODULES - {package}
        assert not extra, f"{named(path)} imports {', '.join(sorted(extra))}"


def test_core_imports_no_sub_package() -> None:
    for path in sorted((REPO / "core").glob("*.py")):
        extra = imported(path) - CORE_MODULES
        assert not extra, f"{named(path)} imports {', '.join(sorted(extra))}"


def test_the_api_does_not_see_the_command_line() -> None:
    for path in sorted((REPO / "core" / "api").rglob("*.py")):
        assert "cli" not in imported(path), named(path)


def test_the_arrows_have_no_cycle() -> None:
    left = {package: set(targets) for package, targets in ALLOWED.items()}
    while free := [package for package, targets in left.items() if not targets]:
        for package in free:
            del left[package]
        for targets in left.values():
            targets.difference_update(free)
    assert not left


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import edgesr.quant.ranges", {"quant"}),
        ("from edgesr.runtime import parity", {"runtime"}),
        ("from edgesr import graph, model", {"graph", "model"}),
        ("def f():\n    from edgesr.cli.verify import verify", {"cli"}),
        ("import edgesr\nimport torch\nfrom json import load", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgesr.api import export", {"api"}),
    ],
)
def test_every_form_of_import_is_seen(code: str, names: set[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(code)
    assert imported(tmp_path / "module.py") == names


@pytest.mark.parametrize("package", [None, *ALLOWED, *ABOVE])
def test_names_lead_to_the_folders(package: str | None) -> None:
    """An import of edgesr.quant must be this quant/, not one that some other installation left behind."""
    module = importlib.import_module("edgesr" if package is None else f"edgesr.{package}")
    folder = REPO / "core" if package is None else REPO / "core" / package if package in ABOVE else REPO / package
    assert [Path(path).resolve() for path in module.__path__] == [folder]


def test_type_checkers_see_the_same_files() -> None:
    """`.types/edgesr` links to every folder and every file of core, and to nothing else."""
    links = {path.name: path for path in (REPO / ".types" / "edgesr").iterdir() if path.name != "__pycache__"}
    core = [path for path in (REPO / "core").iterdir() if path.name != "__pycache__"]
    wanted = {path.name: path for path in core} | {package: REPO / package for package in ALLOWED}
    assert set(links) == set(wanted)
    for name, link in links.items():
        assert link.is_symlink(), f"{named(link)} is a copy"
        assert not link.readlink().is_absolute(), f"{named(link)} would break in another clone"
        assert link.resolve() == wanted[name]


def test_no_file_of_core_hides_a_folder() -> None:
    """`edgesr.model` is a folder: core/model.py would be shadowed by it, or shadow it."""
    assert not CORE_MODULES & {*ALLOWED, *ABOVE}


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
