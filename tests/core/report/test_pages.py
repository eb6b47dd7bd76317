"""What reports hold: whole HTML, nothing from elsewhere, everything escaped, and the figures of the JSON."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import report
from edgesr.artifact import load_manifest
from edgesr.errors import ArtifactError
from edgesr.report.export_page import export_page
from edgesr.report.html import VOID
from edgesr.report.page import render

KINDS = ("export", "parity", "quality", "audit", "bench", "joined")
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00"
REFERENCES = ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "style", "background")


class Outline(HTMLParser):
    """The elements of a page, refusing any that is not closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def outline(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_refers_to_nothing_outside(reports: Any, kind: str) -> None:
    page = outline(reports.pages[kind])
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "audio", "video")
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in REFERENCES:
            value = attributes.get(name)
            is_own = value is None or value.startswith("data:image/webp;base64,") or value[1:] in identities
            assert is_own, (tag, name, value)
    text = reports.pages[kind].read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/)", text) and "@import" not in text and "url(" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_read_by_everyone(reports: Any, kind: str) -> None:
    page = outline(reports.pages[kind])
    assert page.of("html") == [{"lang": "en"}] and page.of("a")[0]["href"] == "#content"
    assert len(page.of("h1")) == len(page.of("main")) == len(page.of("title")) == 1
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(headings)), headings
    assert len(page.of("caption")) == len(page.of("table")) and all(x["scope"] for x in page.of("th"))
    assert all(attributes.get("alt") for attributes in page.of("img"))
    assert all(x.get("aria-label") or x.get("aria-hidden") or "viewbox" in x for x in page.of("svg"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_forbids_all_but_what_the_page_holds(reports: Any, kind: str) -> None:
    (policy,) = [x["content"] for x in outline(reports.pages[kind]).of("meta") if "http-equiv" in x]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules.pop("default-src") == "'none'" and rules.pop("img-src") == "data:"
    assert {name for name in rules if "sha256-" in rules[name]} == {"style-src", "script-src"}
    assert "unsafe" not in str(policy) and "http" not in str(policy)


def poisoned(value: Any, key: str = "") -> Any:
    """Plain values with every text replaced that is free, as a hostile checkpoint or folder could have it."""
    fixed = {"dtype", "layout", "sha256", "kind", "place", "evidence", "case"}
    if isinstance(value, dict):
        return {(name if key != "versions" else EVIL): poisoned(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [poisoned(entry, key) for entry in value]
    if isinstance(value, str) and key not in fixed and not value.startswith("data:"):
        return EVIL
    return value


def test_every_text_of_a_manifest_is_escaped(reports: Any) -> None:
    manifest = load_manifest(reports.export)
    (details,) = (json.loads(next(reports.export.glob("reference/*int8*.report.json")).read_text()),)
    artifacts = [poisoned(artifact.to_json()) for artifact in manifest.artifacts]
    page = Outline(render(export_page(artifacts, {EVIL: poisoned(details)})))
    scripts, images = page.of("script"), page.of("img")
    assert len(scripts) == 1 and all(str(x["src"]).startswith("data:image/") for x in images) and len(images) >= 6
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert any("<script>alert(1)</script>" in words for words in page.words)


def test_a_picture_from_elsewhere_is_refused(reports: Any) -> None:
    manifest = load_manifest(reports.export)
    artifacts = [artifact.to_json() for artifact in manifest.artifacts]
    details = json.loads(next(reports.export.glob("reference/*int8*.report.json")).read_text())
    details["pictures"][0]["map"] = "https://example.org/map.png"
    with pytest.raises(ValueError, match="no data URI"):
        export_page(artifacts, {artifacts[0]["file"]: details})


def cells(path: Path) -> list[list[str]]:
    """The rows of all tables, each cell's text."""
    rows = re.findall(r"<tr>(.*?)</tr>", path.read_text(encoding="utf-8"), re.DOTALL)
    return [[" ".join(Outline(cell).words) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_the_figures_are_those_of_the_json(reports: Any) -> None:
    quality = cells(reports.pages["quality"])
    for result in reports.quality["results"]:
        (row,) = [row for row in quality if row[:2] == [result["file"], result["runner"]] and len(row) == 7
                  and row[2] == f"{result['quality']['psnr_db']:.3f}"]  # fmt: skip
        assert row[4] == f"{result['quality']['ssim']:.4f}"
        assert row[5].split()[-1] == f"{round(result['drop_db'], 3) + 0.0:+.3f}"
    bench = cells(reports.pages["bench"])
    for result in reports.bench["results"]:
        (row,) = [row for row in bench if row[0] == result["name"]]
        assert row[2:6] == [f"{result['median_ms']:.2f}", f"{result['p90_ms']:.2f}", f"{result['min_ms']:.2f}", "48"]
        assert row[7] == f"{result['ratio_to_torch']:.3f}"
    dots = reports.pages["bench"].read_text().count("<circle")
    assert dots == sum(len(r["latencies_ms"]) for r in reports.bench["results"]) - 2  # and two triangles
    parity = cells(reports.pages["parity"])
    operators = {row["operator"] for row in reports.parity["operators"]}
    assert operators <= {row[0] for row in parity}


def test_a_joined_report_brings_a_file_s_figures_into_its_row(reports: Any, tmp_path: Path) -> None:
    sources = [reports.export, *(reports.folder / f"{n}.json" for n in ("quality", "bench", "audit", "parity"))]
    joined = report(sources, tmp_path / "j.html")
    assert [row.artifact["target"] for row in joined.rows] == ["tflite-int8", "tflite-fp32"] and joined.notes == []
    for row, quality, bench in zip(joined.rows, reports.quality["results"], reports.bench["results"][1:], strict=True):
        assert (
            row.quality["3 images of " + "/".join(Path(quality["quality"]["lr_folder"]).parts[-2:])].drop_db
            == (quality["drop_db"])
        )
        assert row.latency["host, 64x64"].median_ms == bench["median_ms"] and row.is_proven is True
        assert row.off_npu["ethos-u85"] is not None
    text = (tmp_path / "j.html").read_text()
    assert "Fastest on host, 64x64" in text and f"{reports.bench['results'][1]['median_ms']:.2f}" in text


def test_figures_of_other_bytes_stand_apart(reports: Any, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(reports.quality))
    plain["results"] = plain["results"][:1]
    plain["results"][0]["sha256"] = "0" * 64
    (tmp_path / "old.json").write_text(json.dumps(plain))
    joined = report([reports.export, tmp_path / "old.json"], tmp_path / "j.html")
    assert [row.artifact is None for row in joined.rows] == [False, False, True] and joined.rows[0].quality == {}
    assert "its bytes differ" in joined.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "is none of edgesr's outputs"),
        ('{"results": []}', "is none of edgesr's outputs"),
        ('{"results": [{"file": "a"}]}', "is none of edgesr's outputs"),
        ('{"records": [{"schema": 1}]}', "is none of edgesr's outputs"),
        ('{"schema": 1, "device": "x", "environment": {}, "warnings": [], "results": [{"name": "a", "runner": "b"}]}',
         "is no record of edgesr bench"),
        ('{"results": [{"file": 1, "runner": 2, "drop_db": "x", "quality": {}, "reference": {}}]}', "is not a whole"),
        ('{"subjects": [{"name": "a.tflite", "gated": true, "notes": [], "npus": [{}]}]}', "is not a whole"),
    ],
)  # fmt: skip
def test_foreign_and_damaged_json_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "given file.json"
    path.write_text(content)
    with pytest.raises(ArtifactError) as refused:
        report([path], tmp_path / "out.html")
    message = str(refused.value)
    assert words in message and str(path) in message and "; " in message and "\n" not in message
    assert not (tmp_path / "out.html").exists()


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    for sources, words in (([], "nothing to report"), ([tmp_path / "no"], "does not exist"), ([tmp_path], "manifest")):
        with pytest.raises(ArtifactError, match=words):
            report(sources, tmp_path / "out.html")


def test_a_folder_without_details_still_has_a_report(reports: Any, tmp_path: Path) -> None:
    manifest = load_manifest(reports.export)
    page = render(export_page([artifact.to_json() for artifact in manifest.artifacts], {}))
    words = " ".join(Outline(page).words)
    assert "Only the worst figures of its check are known" in words and manifest.artifacts[0].sha256 in words
