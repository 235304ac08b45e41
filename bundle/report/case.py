"""Write the report of one result in the requested formats.

A report that fails prints one line and changes the run's exit status, but never affects the result, which is complete
before.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.images import ImageError, Volume
from bundle.images.provenance import NAME, read_provenance
from bundle.report.document import write_pdf
from bundle.report.facts import facts_of
from bundle.report.page import as_html
from bundle.report.slices import Row, shown_rows
from bundle.report.summary import Summary, named
from bundle.report.wording import CAUTION, CODES
from bundle.runtime import fault
from bundle.runtime.errors import last_line
from bundle.runtime.files import atomic
from bundle.runtime.settings import check_highdicom, report_formats
from bundle.transforms.check_input import CheckInput

#: Suffix of a report's file name, by format.
ENDS = {"json": ".report.json", "html": ".report.html", "pdf": ".report.pdf", "sr": ".report.dcm"}
#: What the bundle's own reports contain, by format.
MARKS = {"json": NAME, "html": CAUTION, "pdf": NAME, "sr": CODES}
#: Formats with pictures.
PICTURED = ("html", "pdf")


class Report:
    """Write reports such as ``RESULT.report.json`` next to a result.

    Args:
        formats: one or several of json, html, pdf, sr (DICOM structured report), such as "html,json".
        hu: whether the images are CTs in HU; null to detect it.
        comparable: whether source and result have the same unit, so that their difference is meaningful; null to take
            it from the result's provenance: not with ``percentiles``.
        summary: table that gets a row for each image; null for none.
        folder: folder of the reports; null to write each next to its result.
        root: folder of the results, whose subfolders are repeated in ``folder``.

    Raises:
        ValueError: If a format is unknown, or a structured report is requested and highdicom is missing.
    """

    def __init__(
        self,
        formats: Any = "html",
        hu: bool | None = None,
        comparable: bool | None = None,
        summary: Summary | None = None,
        folder: str | Path | None = None,
        root: str | Path | None = None,
    ) -> None:
        self.formats = report_formats(formats)
        if "sr" in self.formats:
            check_highdicom()
        self.hu, self.comparable, self.summary = hu, comparable, summary
        self.folder, self.root = Path(folder) if folder is not None else None, Path(root) if root is not None else None

    def __call__(
        self,
        source: str | Path,
        result: str | Path,
        densities: Mapping[str, Any] | None = None,
        told: Mapping[str, Any] | None = None,
        series_uid: str = "",
        truth: str | Path | None = None,
    ) -> dict[str, Any] | None:
        """Write the reports of a result; return their facts, or None after printing why a report failed.

        Args:
            source: path of the source image; a path that does not exist for an image generated from noise.
            result: path of the result.
            densities: lung densities, if they are already measured.
            told: provenance of the result (`bundle.runtime.noted`), used if no provenance file lies next to it.
            series_uid: series to read if the source is a folder with several series.
            truth: path of the true image on the same grid; null if it is not known.
        """
        facts, source, result = None, Path(source), Path(result)
        troubles: list[str] = []
        try:
            before = Volume(source, series_uid) if source.exists() else None
            after = Volume(result)
            hu = is_ct(before or after) if self.hu is None else self.hu
            told = read_provenance(result) or told or {}
            comparable = self.comparable
            if comparable is None:
                comparable = hu or not (told.get("settings") or {}).get("percentiles")
            facts = facts_of(before, after, hu, comparable, told, densities, Volume(truth) if truth else None)
            troubles += self.written(facts, before, after, result)
        except Exception as error:  # whatever a library raises, the result is complete
            troubles.append(cause(error))
        for trouble in troubles:
            fault(f"no report of {str(result)!r}: {trouble}")
        if self.summary:
            try:
                self.summary.done(source, result, facts, "; ".join(troubles))
            except OSError as error:
                fault(f"no row of {str(result)!r}: {error}")
        return None if troubles else facts

    def is_there(self, result: Path) -> bool:
        """Return whether a result has all its reports."""
        return all(self.path_of(result, form).exists() for form in self.formats)

    def path_of(self, result: Path, form: str) -> Path:
        """Return the path of a result's report in one format."""
        place = result if self.folder is None else self.folder / named(result, self.root)
        return place.with_name(place.name + ENDS[form])

    def written(self, facts: Mapping[str, Any], before: Volume | None, after: Volume, result: Path) -> Iterator[str]:
        """Write the facts in each format; yield the reason for each one that could not be written."""
        comparable = before is None or "difference" in facts["values"]
        rows: list[Row] = []
        for form in self.formats:
            path = self.path_of(result, form)
            if form == "sr" and (lacking := no_structured(facts, before, after)):
                yield f"sr: {lacking}"
                continue
            try:
                check_own(path, form)
                if form in PICTURED and not rows:
                    rows = list(shown_rows(before, after, facts["kind"] == "ct", comparable))
                with atomic(path) as part:
                    write(part, form, facts, rows, before, after)
            except Exception as error:
                yield f"{form}: {cause(error)}"
            else:
                print(f"report: {path}")


def check_own(path: Path, form: str) -> None:
    """Refuse to replace a file that is not a report of this bundle.

    Raises:
        FileExistsError: If there is such a file.
    """
    if path.is_file() and MARKS[form].encode() not in path.read_bytes():
        raise FileExistsError(f"{str(path)!r} exists already, and is not a report of this bundle; move it away.")


def write(
    path: Path, form: str, facts: Mapping[str, Any], rows: Sequence[Row], before: Volume | None, after: Volume
) -> None:
    """Write a report in one format."""
    if form == "json":
        path.write_text(as_json(facts), encoding="utf-8")
    elif form == "html":
        path.write_text(as_html(facts, rows), encoding="utf-8")
    elif form == "pdf":
        write_pdf(path, facts, rows)
    elif before is not None:
        from bundle.report.structured import write_structured

        write_structured(path, facts, before, after)


def cause(error: Exception) -> str:
    """Return the cause of an error in one line."""
    return last_line(error).removeprefix("error: ")


def as_json(facts: Mapping[str, Any]) -> str:
    """Return the facts as JSON."""
    return json.dumps(facts, indent=1, allow_nan=False, default=str) + "\n"


def is_ct(image: Volume) -> bool:
    """Return whether an image looks like a CT in HU, see `bundle.transforms.CheckInput`."""
    if image.is_picture:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CheckInput("refuse")(image.image)
    except ImageError:
        return False
    return True


def no_structured(facts: Mapping[str, Any], source: Volume | None, result: Volume) -> str:
    """Return why a result cannot have a structured report, and the way out; an empty string if it can."""
    if source is None or not source.image.files or not result.image.files:
        return "source and result have to be DICOM series; leave output_ext out, or take other formats"
    return "" if facts["densitometry"] else "no lung was measured in it; take other formats"
