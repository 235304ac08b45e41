"""Write a CSV table of many images, with a row for each, including those that failed.

Rows are kept on disk and replaced one by one, so that an interrupted run loses none, several processes can share the
table, and a later run keeps the rows of images that it skips.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from bundle.images import is_series, suffix
from bundle.images.archives import SUFFIX as ARCHIVE
from bundle.runtime.files import atomic
from bundle.runtime.locks import locked
from bundle.runtime.origins import origin_of
from bundle.transforms.lung_density import COLUMNS as MEASURES

FILE = "summary.csv"
WHEN = ("before", "after", "truth")
DENSITIES = tuple(f"{key}_{when}" for key, *_ in MEASURES for when in WHEN)
COLUMNS = (
    *("image", "result", "status", "seconds", "kernel_source", "kernel_target"),
    *("half_gain_per_mm_before", "half_gain_per_mm_after", "noise_hu_before", "noise_hu_after"),
    *("mean_change", "mean_absolute_change", *DENSITIES, "warnings"),
)
#: Characters that make a spreadsheet treat a cell as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
DONE = "done"


class Summary:
    """The table ``summary.csv`` of a folder of results.

    Args:
        folder: folder of the table.
        root: folder of the images, which are identified by their path in it; if it is a single image, no table is
            written.
    """

    def __init__(self, folder: str | Path, root: str | Path | None = None) -> None:
        self.folder, self.root = Path(folder), Path(root) if root is not None else None
        self.path = self.folder / FILE
        self.wanted = self.root is None or not _is_image(self.root)

    def done(self, image: str | Path, result: Path, facts: Mapping[str, Any] | None, trouble: str = "") -> None:
        """Write the row of an image that has a result.

        Args:
            image: path of the source.
            result: path of the result.
            facts: contents of the report, see `bundle.report.facts.facts_of`; None if there are none.
            trouble: why the report failed; empty if it did not.

        Raises:
            FileExistsError: If the table exists and was not written by this bundle.
            NotWrittenError: If the table cannot be written.
        """
        status = f"done, but no report: {trouble}" if trouble else DONE
        told = {"image": named(image, self.root), "result": named(result, self.folder), "status": status}
        self.put({**told, **row_of(facts)} if facts else told)

    def failed(self, image: str | Path, cause: str) -> None:
        """Write the row of an image that has no result. Raises the same errors as `done`."""
        self.put({"image": named(image, self.root), "status": f"failed: {cause}"})

    def put(self, row: Mapping[str, Any]) -> None:
        """Write a row, replacing an earlier one of the same image."""
        if not self.wanted:
            return
        row = {key: safe(row.get(key)) for key in COLUMNS}
        with locked(self.path, wait=True, task=f"table {str(self.path)!r}"):
            rows = {each["image"]: each for each in self.rows()}
            rows[row["image"]] = row
            text = as_csv(rows[image] for image in sorted(rows))
            with atomic(self.path) as part:
                part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

    def rows(self) -> list[dict[str, str]]:
        """Return the existing rows.

        Raises:
            FileExistsError: If the table was not written by this bundle.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) == COLUMNS:
                    return [{key: row.get(key) or "" for key in COLUMNS} for row in reader]
        except (UnicodeDecodeError, csv.Error, OSError):
            pass
        raise FileExistsError(
            f"{str(self.path)!r} exists already, and is not a summary of this version of the bundle; move it away."
        )


def _is_image(path: Path) -> bool:
    """Return whether a path is a single image, not a folder or an archive of several."""
    archive = path.name.lower().endswith(ARCHIVE)
    return bool((path.is_file() and not archive) or suffix(path) or is_series(path))


def named(path: str | Path, root: Path | None) -> str:
    """Return a path relative to a folder, or only its name if it lies elsewhere."""
    path = origin_of(path)
    inside = root is not None and root != path and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if inside and root is not None else path.name


def row_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns filled from a report."""
    kernel, noise = facts["kernel"] or {}, facts["noise"] or {}
    lungs, change = facts["densitometry"] or {}, facts["values"].get("difference", {})
    halves = {each["of"]: each["half_gain_per_mm"] for each in kernel.get("curves", ())}
    sides = {when: (lungs.get(when) or {}).get("both", {}) for when in WHEN}
    return {
        "seconds": (facts["provenance"] or {}).get("seconds"),
        "kernel_source": kernel.get("source") or ("found" if "source" in halves else None),
        "kernel_target": kernel.get("target") or ("soft" if "target" in halves else None),
        "half_gain_per_mm_before": halves.get("source"),
        "half_gain_per_mm_after": halves.get("result"),
        **{f"noise_hu_{when}": noise.get(when, {}).get("deviation_hu") for when in ("before", "after")},
        "mean_change": change.get("mean"),
        "mean_absolute_change": change.get("mean_absolute"),
        **{f"{key}_{when}": sides[when].get(key) for key, *_ in MEASURES for when in WHEN},
        "warnings": "; ".join(facts["warnings"]),
    }


def safe(value: Any) -> str:
    """Return a value as text, with a leading apostrophe if a spreadsheet would treat it as a formula."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f"{value:.7g}"
    text = " ".join(str(value).split())
    return f"'{text}" if text.startswith(FORMULA) else text


def as_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows as CSV with a header."""
    file = StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
