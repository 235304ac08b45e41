"""Write the report as a self-contained HTML page: pictures are embedded, and nothing is fetched or executed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from bundle.report import wording
from bundle.report.charts import as_svg, draw_kernels, draw_noise
from bundle.report.slices import Row

#: Mark of the patient's right, which is on the left of a slice seen from the feet.
RIGHT = '<span class="side" title="the patient\'s right">R</span>'
FRAME = Path(__file__).with_name("page.html")


def as_html(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the HTML page.

    Args:
        facts: contents of the report, see `bundle.report.facts.facts_of`.
        rows: pictures of the slices.
    """
    parts = [tiles(facts), warnings(facts), pictures(facts, rows), charts(facts), lungs(facts), origin(facts)]
    return frame().substitute(
        title=escape(f"Report: {wording.heading(facts)}"),
        heading=escape(wording.heading(facts)),
        subtitle=escape(wording.subtitle(facts)),
        columns=max((len(row.pictures) for row in rows), default=1),
        body="\n".join(filter(None, parts)),
        caution=escape(wording.CAUTION),
    )


@cache
def frame() -> Template:
    """Return the template of the page."""
    return Template(FRAME.read_text(encoding="utf-8"))


def section(title: str, inner: str, kind: str = "") -> str:
    """Return a section of the page; ``inner`` is HTML."""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>\n{inner}\n</section>'


def inside(kind: str, content: bytes, text: str) -> str:
    """Return an embedded image."""
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{b64encode(content).decode()}">'


def tiles(facts: Mapping[str, Any]) -> str:
    """Return the key figures."""
    inner = [
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(unit)}</span></div>'
        for name, value, unit in wording.tiles_of(facts)
    ]
    return f'<div class="tiles">{"".join(inner)}</div>' if inner else ""


def warnings(facts: Mapping[str, Any]) -> str:
    """Return the warnings, or that there are none."""
    said = [f"<li>{escape(text)}</li>" for text in facts["warnings"]]
    if not said:
        return section("Warnings", f'<p class="note" style="margin:0">{escape(wording.NO_WARNINGS)}</p>')
    return section(f"Warnings ({len(said)})", f"<ul>{''.join(said)}</ul>", "warnings")


def pictures(facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the pictures of the slices."""
    if not rows:
        return ""
    names = "".join(f"<div>{escape(picture.title)}</div>" for picture in rows[0].pictures)
    grid = [f'<div class="row names">{names}</div>']
    for row in rows:
        told = wording.caption(row)
        figures = []
        for place, picture in enumerate(row.pictures):
            below = f"<figcaption>{escape(told)}</figcaption>" if place == 0 and told else ""
            if place == 0 and row.place is not None and row.enlarged == 1:
                below += RIGHT
            light = ' class="light"' if picture.pixels.ndim == 3 else ""
            image = inside("png", picture.png(), f"{picture.title}, {told}")
            figures.append(f"<figure{light}>{image}{below}</figure>")
        grid.append(f'<div class="row">{"".join(figures)}</div>')
    last = rows[0].pictures[-1]
    bar = ""
    if last.title == "difference":
        limit, unit = f"{last.span[1]:.3g}", f" {facts['unit']}" if facts["unit"] else ""
        bar = f'<div class="bar">{wording.MINUS}{limit}<i></i>+{limit}{escape(unit)}</div>'
    note = f'<p class="note">{escape(wording.window_text(facts))}</p>'
    kind = "single" if len(rows[0].pictures) == 1 else ""
    return section(
        "Slices" if len(facts["shape"]) == 3 else "Image", f'{note}<div class="{kind}">{"".join(grid)}{bar}</div>'
    )


def charts(facts: Mapping[str, Any]) -> str:
    """Return the curves."""
    drawn = []
    if facts["kernel"] and facts["kernel"]["curves"]:
        drawn.append(inside("svg+xml", as_svg(draw_kernels, facts["kernel"]), "transfer functions"))
    if facts["noise"]:
        drawn.append(inside("svg+xml", as_svg(draw_noise, facts["noise"]), "noise power spectra"))
    return section("Kernel and noise", f'<div class="charts">{"".join(drawn)}</div>') if drawn else ""


def lungs(facts: Mapping[str, Any]) -> str:
    """Return the table of lung densities."""
    if not facts["densitometry"]:
        return ""
    head, rows = wording.lung_table(facts["densitometry"])
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    side = ""
    for row in rows:
        kinds = [*(["first"] if row[0] != side else []), *(["after"] if row[1] == "after" else [])]
        cells = [row[0] if row[0] != side else "", *row[1:]]
        lines.append(
            f'<tr class="{" ".join(kinds)}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )
        side = row[0]
    table = f'<div class="scroll"><table>{"".join(lines)}</table></div>'
    note = f'<p class="note" style="margin:12px 0 0">{escape(wording.interval_text(facts["densitometry"]))}</p>'
    return section("Lung densitometry, in one mask", table + note)


def origin(facts: Mapping[str, Any]) -> str:
    """Return how the result was made."""
    pairs = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in wording.origin(facts)]
    return section("Provenance", f"<dl>{''.join(pairs)}</dl>")
