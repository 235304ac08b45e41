"""Report of an evaluation: `table` makes its Markdown table and CSV file, `figures` draws its figures."""

from bundle.evaluation.report.figures import draw_boxes, draw_enlarged, draw_slices, draw_spectra, save
from bundle.evaluation.report.table import Record, as_csv, markdown, notes

__all__ = [
    "Record",
    "as_csv",
    "draw_boxes",
    "draw_enlarged",
    "draw_slices",
    "draw_spectra",
    "markdown",
    "notes",
    "save",
]
