"""The report of an export folder: report.html, made anew from all that the manifest lists."""

from __future__ import annotations

from edgesr.api.report_details import describe_file, details_name, load_details, serialize_details
from edgesr.api.staging import Staging
from edgesr.artifact import Artifact, Manifest
from edgesr.graph import Graph
from edgesr.report.export_page import export_page
from edgesr.report.page import render
from edgesr.runtime.parity import ParityReport

REPORT_NAME = "report.html"


def publish_details(
    staging: Staging, manifest: Manifest, artifact: Artifact, parity: ParityReport, captured: Graph | None
) -> None:
    """Put the details of a file that was just placed beside its proof."""
    details = describe_file(manifest, artifact, parity, captured)
    staging.publish(details_name(artifact.file), serialize_details(details))


def publish_report(staging: Staging, manifest: Manifest) -> None:
    """Put the folder's report in its place; raises `ExportError` where a folder has its name."""
    staging.publish(REPORT_NAME, render_folder(manifest).encode())


def render_folder(manifest: Manifest) -> str:
    """The page of all that a manifest lists."""
    plain = [artifact.to_json() for artifact in manifest.artifacts]
    return render(export_page(plain, load_details(manifest)))
