"""The page of `edgesr verify quality`: what files lose against the float network on pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from edgesr.report.html import Child, Html, element, paragraph, table
from edgesr.report.page import Page, Section, State, Tile, Verdict, badge, section
from edgesr.report.pictures import picture_parts
from edgesr.report.values import NONE, Plain, count, decibels, entry, number, share, signed_decibels

NOTABLE_DROP_DB = 0.1
"""A loss of PSNR from which on a file is marked: what differs between good INT8 recipes lies below."""
LARGE_DROP_DB = 0.5


def quality_page(quality: Plain, subject: str, pictures: Sequence[Plain] = ()) -> Page:
    """The page of a quality report's JSON; `pictures` are described ones with a `file`."""
    results = quality["results"]
    first = results[0]["quality"]
    peers = quality.get("peers") or []
    return Page(
        kind="verify quality",
        title=f"{subject}: quality on {count(first['n'], 'image')}",
        about=f"{first['lr_folder']} to {first['hr_folder']}, x{first['scale']}, {first['crop']}-pixel crop, uint8",
        verdicts=_verdicts(results),
        tiles=tuple(_tile(result) for result in results),
        sections=(
            section("Means over all images", _means(results, peers), *_errors(results)),
            *_pictures(pictures),
            section("Image by image", *(_images(result) for result in results)),
        ),
    )


def drop_state(drop_db: float) -> State:
    """How a loss is marked."""
    if drop_db <= NOTABLE_DROP_DB:
        return State.GOOD
    return State.DOUBTFUL if drop_db <= LARGE_DROP_DB else State.BAD


def _drop(result: Plain) -> float:
    return number(result["drop_db"]) or 0.0


def _verdicts(results: Sequence[Plain]) -> tuple[Verdict, ...]:
    worst = max(results, key=_drop)
    drop = _drop(worst)
    words = f"{worst['file']} in {worst['runner']} loses {drop:.3f} dB of PSNR against the float network"
    if drop_state(drop) is State.GOOD:
        words = f"No file loses more than {max(drop, 0.0):.3f} dB of PSNR against the float network"
    found = [Verdict(drop_state(drop), f"{words}; {NOTABLE_DROP_DB:g} dB and more are marked.")]
    emulated = [
        Verdict(State.DOUBTFUL, f"{r['runner']} is emulated, no phone: {r['emulated']} ({r['file']}).")
        for r in results
        if r.get("emulated")
    ]
    return (*found, *emulated)


def _tile(result: Plain) -> Tile:
    found, own = (decibels(result[name]["psnr_db"]) for name in ("quality", "reference"))
    note = f"of PSNR lost: {found} dB, {own} in FP32"
    return Tile(result["file"], f"{round(_drop(result), 3) + 0.0:.3f} dB", note, drop_state(_drop(result)))


def _means(results: Sequence[Plain], peers: Sequence[Plain]) -> Html:
    rows: list[tuple[Child, ...]] = []
    references: list[Plain] = []
    for result in results:
        if result["reference"] not in references:
            references.append(result["reference"])
            rows.append(("PyTorch FP32", "torch", *_figures(result["reference"]), NONE, NONE))
    for result in results:
        drop = badge(drop_state(_drop(result)), signed_decibels(result["drop_db"]))
        rows.append((result["file"], result["runner"], *_figures(result["quality"]), drop,
                     signed_decibels(result.get("border_drop_db"))))  # fmt: skip
    for peer in peers:
        figures = _figures(peer["quality"]) if peer.get("quality") else (NONE, NONE, NONE)
        rows.append((peer["tool"], peer.get("runner") or NONE, *figures, signed_decibels(peer.get("drop_db")), NONE))
    header = ("File", "Runner", "PSNR dB", "Y-PSNR dB", "SSIM", "Lost dB", "Lost at the border dB")
    return table("Means; the float network on the same images first", header, rows, (2, 3, 4, 5, 6))


def _figures(report: Plain) -> tuple[str, str, str]:
    ssim = number(report["ssim"])
    return decibels(report["psnr_db"], 3), decibels(report["psnr_y_db"], 3), NONE if ssim is None else f"{ssim:.4f}"


def _errors(results: Sequence[Plain]) -> list[Child]:
    rows = []
    for result in results:
        errors = entry(result, "quality", "against_network")
        if errors is not None:
            worst = number(errors.get("worst_shift_levels"))
            rows.append((result["file"], result["runner"], decibels(errors.get("interior_psnr_db"), 1),
                         decibels(errors.get("border_psnr_db"), 1), NONE if worst is None else f"{worst:.2f}",
                         share(errors.get("cut_off_share")), share(errors.get("lost_share"))))  # fmt: skip
    if not rows:
        return []
    header = ("File", "Runner", "Inside dB", "Border dB", "Worst colour shift", "Cut off", "Detail lost")
    return [
        table("Against the float network's own pictures", header, rows, (2, 3, 4, 5, 6)),
        paragraph("Shift in levels of 1/255; cut off: pixels on black or white that the network has elsewhere; lost: "
                  "those of them where the true picture, too, is elsewhere.", class_="pale"),
    ]  # fmt: skip


def _pictures(pictures: Sequence[Plain]) -> tuple[Section, ...]:
    parts = [part for picture in pictures for part in picture_parts([picture], picture["file"])]
    intro = paragraph("The image that lost most, and the one in the middle. FP32 is the network in PyTorch, HR the "
                      "true picture.")  # fmt: skip
    return (section("What it looks like", intro, *parts),) if parts else ()


def _images(result: Plain) -> Child:
    reference = {image["name"]: image for image in result["reference"]["images"]}
    rows = []
    for image in result["quality"]["images"]:
        found, own = number(image["psnr_db"]), number(entry(reference.get(image["name"]), "psnr_db"))
        lost = None if found is None or own is None or found == own else own - found
        shown = NONE if lost is None else badge(drop_state(lost), signed_decibels(lost))
        rows.append((image["name"], decibels(image["psnr_db"], 3), decibels(own, 3), shown,
                     decibels(image["psnr_y_db"], 3), f"{image['ssim']:.4f}",
                     decibels(entry(image, "against_network", "interior_psnr_db"), 1)))  # fmt: skip
    header = ("Image", "PSNR dB", "Float dB", "Lost dB", "Y-PSNR dB", "SSIM", "To the float picture dB")
    return element("div", element("h3", f"{result['file']}, {result['runner']}"),
                   table(f"{result['file']}, image by image", header, rows, (1, 2, 3, 4, 5, 6)))  # fmt: skip
