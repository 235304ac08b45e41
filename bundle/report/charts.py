"""Draw the curves of a report: transfer functions of the kernels, and noise power spectra before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

COLOURS = {"source": "#c8560a", "result": "#0b63b0", "target": "#30343a"}
STYLES: dict[str, Any] = {"source": "-", "result": "-", "target": (0, (4, 3))}
TITLES = {"source": "source", "result": "result, found in it", "target": "target"}
GRID, INK = "#e3e6ea", "#4a5058"
SIZE = (5.4, 3.3)  # inches
ROOM = 1.4  # top of the chart as a multiple of the largest gain, to leave room for the legend
#: Fixed element names and no date, so that the same report gives the same file.
PLAIN: Any = {"svg.hashsalt": "report", "svg.fonttype": "path", "font.size": 9, "text.parse_math": False}


def draw_kernels(axes: Axes, kernel: Mapping[str, Any]) -> None:
    """Draw transfer functions, see `bundle.report.kernels.kernel_facts`."""
    for each in kernel["curves"]:
        end = each["of"]
        half = each["half_gain_per_mm"]
        label = TITLES[end] if end == "result" else f"{TITLES[end]}: {each['from']}"
        label += f" (half at {half:.2f})" if half is not None else ""
        axes.plot(
            kernel["frequencies_per_mm"], each["gains"], color=COLOURS[end], linestyle=STYLES[end], lw=1.8, label=label
        )
    axes.axhline(0.5, color=GRID, lw=1, zorder=0)
    axes.set_ylim(0, ROOM * max(max(each["gains"]) for each in kernel["curves"]))
    axes.set_ylabel("gain")
    finish(axes, "Transfer function", where="upper right")


def draw_noise(axes: Axes, noise: Mapping[str, Any]) -> None:
    """Draw noise power spectra, see `bundle.report.facts.noise_facts`."""
    for when, end in (("before", "source"), ("after", "result")):
        label = f"{end}: {noise[when]['deviation_hu']:.1f} HU"
        power = [max(value, 1e-4) for value in noise[when]["power_hu2_mm2"]]
        axes.semilogy(noise["frequencies_per_mm"], power, color=COLOURS[end], lw=1.8, label=label)
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _: f"{value:g}" if math.log10(value).is_integer() else ""))
    axes.set_ylabel("HU\N{SUPERSCRIPT TWO} mm\N{SUPERSCRIPT TWO}")
    finish(axes, f"Noise power in flat soft tissue ({noise['patches']} patches)")


def finish(axes: Axes, title: str, label: str = "frequency, cycles/mm", where: Any = "best") -> None:
    """Give a chart its title, grid and legend."""
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel(label, color=INK)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b8bec6")
    axes.legend(fontsize=7.5, frameon=False, loc=where)


def as_svg(draw: Any, facts: Mapping[str, Any]) -> bytes:
    """Return a chart as an SVG file.

    Args:
        draw: function that draws the chart, such as `draw_kernels`.
        facts: data to draw.
    """
    with matplotlib.rc_context(PLAIN):
        figure = Figure(SIZE, layout="constrained")
        draw(figure.subplots(), facts)
        file = BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return file.getvalue()
