"""Write the report as a PDF with A4 pages, drawn by matplotlib."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from bundle.images.provenance import NAME
from bundle.report import wording
from bundle.report.charts import INK, PLAIN, draw_kernels, draw_noise
from bundle.report.slices import Row
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

PAGE = (8.27, 11.69)  # inches, A4
LEFT, WIDTH = 0.08, 0.84  # fractions of the page width
LINE = 0.0135  # height of a line as a fraction of the page height
LETTERS = 112  # characters per line
DPI = 200
ABOUT = {"CreationDate": None, "Creator": NAME}
# fontTools logs every font table that it keeps
logging.getLogger("fontTools.subset").setLevel(logging.WARNING)


def write_pdf(path: Path, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write the report as a PDF.

    Args:
        path: file to write.
        facts: contents of the report, see `bundle.report.facts.facts_of`.
        rows: pictures of the slices.
    """
    with matplotlib.rc_context({**PLAIN, "pdf.fonttype": 42}), PdfPages(path, metadata=ABOUT) as pdf:
        for page in pages(facts, rows):
            pdf.savefig(page, dpi=DPI)


def pages(facts: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Figure]:
    """Yield the pages: pictures and curves on the first one, text on the others."""
    first = Figure(PAGE)
    first.text(LEFT, 0.955, wording.heading(facts), fontsize=16, weight="bold")
    warned = f" Warnings ({len(facts['warnings'])}): next page." if facts["warnings"] else ""
    first.text(LEFT, 0.935, f"{wording.subtitle(facts)}. {wording.CAUTION}{warned}", fontsize=9, color=INK)
    for place, (name, value, unit) in enumerate(wording.tiles_of(facts)):
        left = LEFT + place * WIDTH / 4
        first.text(left, 0.908, name, fontsize=7.5, color=INK)
        first.text(left, 0.888, value, fontsize=12, weight="bold")
        first.text(left, 0.874, textwrap.fill(unit, 34), fontsize=6.5, color=INK, va="top")
    draw_pictures(first, facts, rows)
    draw_charts(first, facts)
    yield first
    lines = list(text_lines(facts))
    most = int(0.9 / LINE)
    for start in range(0, len(lines), most):
        page = Figure(PAGE)
        for place, (text, weight) in enumerate(lines[start : start + most]):
            family = "monospace" if weight == "table" else None
            page.text(
                LEFT,
                0.95 - place * LINE,
                text,
                fontsize=9 if weight == "bold" else 7,
                weight="bold" if weight == "bold" else "normal",
                family=family,
            )
        yield page


def draw_pictures(page: Figure, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Draw the slices between the key figures and the curves."""
    if not rows:
        return
    inner = page.add_gridspec(
        len(rows), len(rows[0].pictures), left=LEFT, right=LEFT + WIDTH, top=0.83, bottom=0.29, wspace=0.02, hspace=0.03
    )
    for line, row in enumerate(rows):
        for column, picture in enumerate(row.pictures):
            axes = page.add_subplot(inner[line, column])
            axes.imshow(picture.pixels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            axes.set_axis_off()
            if line == 0:
                axes.set_title(picture.title, fontsize=8.5, color=INK)
            if column == 0:
                told = wording.caption(row)
                axes.text(0.02, 0.03, told, transform=axes.transAxes, color="white", fontsize=6.5)
    last = rows[0].pictures[-1]
    limits = f" Colours: {wording.MINUS}{last.span[1]:.3g} to +{last.span[1]:.3g} {facts['unit'] or ''}".rstrip()
    told = wording.window_text(facts) + (f"{limits}." if last.title == "difference" else "")
    page.text(LEFT, 0.275, told, fontsize=7, color=INK)


def draw_charts(page: Figure, facts: Mapping[str, Any]) -> None:
    """Draw the curves at the bottom of the page."""
    drawn: list[tuple[Any, Any]] = []
    if facts["kernel"] and facts["kernel"]["curves"]:
        drawn.append((draw_kernels, facts["kernel"]))
    if facts["noise"]:
        drawn.append((draw_noise, facts["noise"]))
    for place, (draw, told) in enumerate(drawn):
        draw(page.add_axes((LEFT + 0.04 + place * 0.45, 0.07, 0.37, 0.16)), told)


def text_lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of text, each with its kind: bold, table, or plain."""
    yield "Warnings", "bold"
    for text in facts["warnings"] or [wording.NO_WARNINGS]:
        for place, line in enumerate(textwrap.wrap(text, LETTERS)):
            yield ("\N{BULLET} " if place == 0 else "  ") + line, ""
    yield "", ""
    if lungs := facts["densitometry"]:
        head, rows = wording.lung_table(lungs)
        yield "Lung densitometry, in one mask", "bold"
        for row in (head, *rows):
            yield f"{row[0]:7}{row[1]:8}" + "".join(f"{cell:>15}" for cell in row[2:]), "table"
        for line in textwrap.wrap(wording.interval_text(lungs), LETTERS):
            yield line, ""
        yield "", ""
    yield "Provenance", "bold"
    for name, value in wording.origin(facts):
        for line in textwrap.wrap(f"{name}: {value}", LETTERS, subsequent_indent="    ") or [f"{name}:"]:
            yield line, ""
