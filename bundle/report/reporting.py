"""Report existing results: the run id ``reporting`` of ``configs/report.json``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.report.agreement import draw_agreement
from bundle.report.case import Report
from bundle.report.pairing import find_pairs
from bundle.report.summary import Summary, named, safe
from bundle.runtime import faults, typed_path
from bundle.runtime.settings import check_flags


@dataclass(frozen=True)
class Reporting:
    """Write reports, the table ``summary.csv`` and, if the truth is given, the plot ``bland_altman.png``.

    Args:
        source: an image or a folder of images.
        result: its result or a folder of results.
        output_dir: folder of the reports.
        truth: the true images, on the same grids and with the same names; null if they are not known.
        formats: see `Report`.
        hu: whether the images are CTs in HU; null to detect it for each.
        recursive: read folders to any depth.
        series_uid: the series to take from a source that is a DICOM folder with several.

    Raises:
        ValueError: If no format is given, or ``hu`` or ``recursive`` is neither true, false nor null.
    """

    source: Any
    result: Any
    output_dir: Any
    truth: Any = None
    formats: Any = "html,json"
    hu: bool | None = None
    recursive: bool = False
    series_uid: str = ""

    def __post_init__(self) -> None:
        if not Report(self.formats).formats:
            raise ValueError(f"report {self.formats!r} names no format; take one or more, such as html.")
        check_flags({"hu": self.hu, "recursive": self.recursive})

    def run(self) -> Summary:
        """Write all reports; one that fails does not stop the others.

        Raises:
            ValueError: If source or result is missing, or no result matches a source.
            SystemExit: With status 1, if a report failed.
        """
        if self.source is None or self.result is None:
            raise ValueError("source and result are needed: give the images, or folders of them, by --source --result.")
        source, result, folder = (
            Path(str(typed_path(name, getattr(self, name)))) for name in ("source", "result", "output_dir")
        )
        truth = None if self.truth is None else str(typed_path("truth", self.truth))
        summary = Summary(folder, source)
        report = Report(self.formats, self.hu, summary=summary, folder=folder, root=result)
        before, pairs = len(faults()), find_pairs(source, result, truth, self.recursive, self.series_uid)
        for pair in pairs:
            report(pair.source, pair.result, series_uid=self.series_uid, truth=pair.truth)
        if summary.wanted:
            print(f"table: {summary.path}")
        made = {safe(named(pair.source, source)) for pair in pairs}
        rows = [row for row in summary.rows() if row["image"] in made]
        if truth is not None and (plot := draw_agreement(folder, rows)):
            print(f"agreement: {plot}")
        if failed := len(faults()) - before:
            print(f"error: {failed} of {len(pairs)} reports failed, see the lines above.", file=sys.stderr, flush=True)
            raise SystemExit(1)
        return summary
