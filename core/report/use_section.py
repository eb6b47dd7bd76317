"""How a file is used: what goes in and comes out, by its contract, and the commands that go on from here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from edgesr.report.html import Child, Html, code, element, facts, paragraph
from edgesr.report.values import Plain, image_size

ORDERS = {"nhwc": "N, H, W, C", "nchw": "N, C, H, W"}
BYTES = {"int8": "the byte minus 128 (XOR 0x80)", "uint8": "the byte itself"}


def use_parts(artifacts: Sequence[Plain]) -> list[Child]:
    """The contract of each file, and commands."""
    parts: list[Child] = []
    for artifact in artifacts:
        parts += [element("h3", artifact["file"]), _contract(artifact)]
    file = shlex.quote(artifacts[0]["file"])
    commands = (
        f"edgesr run {file} -i picture.png -o larger.png\nedgesr verify parity {file}\n"
        f"edgesr verify quality {file} --lr LR --hr HR --report quality.html\nedgesr bench {file} --report bench.html"
    )
    return [*parts, paragraph("From the folder that holds this report:"), element("pre", code(commands), tabindex=0)]


def _contract(artifact: Plain) -> Html:
    contract = artifact["contract"]
    return facts([
        ("Type and layout", f"{contract['dtype']}, {contract['layout']} ({ORDERS.get(contract['layout'], '')})"),
        ("Input", f"H x W, {contract['channels']} channels"),
        ("Output", _output(contract)),
        ("Input sizes", _sizes(contract)),
        ("Values", BYTES.get(contract["dtype"], f"0 to {contract['value_range']:g}")),
        ("Scale", None if "scale" not in contract else f"{contract['scale']:.10g}"),
        ("Zero point", None if "zero_point" not in contract else str(contract["zero_point"])),
        ("Sides", _sides(contract)),
        ("sha256", code(artifact["sha256"])),
    ])  # fmt: skip


def _output(contract: Plain) -> str:
    upscale, channels, block = contract["upscale"], contract["channels"], contract["host_shuffle"]
    output = f"{upscale}H x {upscale}W, {channels} channels"
    if block == 1:
        return output
    return f"H x W, {block * block * channels} channels; depth to space by {block} on the host makes {output} of it"


def _sizes(contract: Plain) -> str:
    sizes = ", ".join(image_size(one) for one in contract["sizes"])
    if not contract["any_size"]:
        return sizes
    return f"any, written for {sizes}" if sizes else "any"


def _sides(contract: Plain) -> str | None:
    if contract["size_multiple"] == 1:
        return None
    return f"multiples of {contract['size_multiple']}: {contract.get('padding', '')}"
