"""Report of an evaluation: `table` makes its Markdown table and CSV file, `figures` draws its figures."""

from bundle.evaluation.report.figures import draw_boxes, draw_enlarged, draw_slices, draw_spectra, save
from bundle.evaluation.report.table import OWN_CSV_LINE, OWN_LINE, Record, as_csv, markdown, notes

__all__ = [
    "OWN_CSV_LINE",
    "OWN_LINE",
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
