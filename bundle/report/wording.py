"""Texts of a report, shared by the HTML page and the PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundle.report.slices import Row
from bundle.transforms.lung_density import COLUMNS, SIDES

CAUTION = "For research only: not for clinical use."
CODES = "Codes of the CT kernel translation GAN bundle"  # name of the coding scheme of structured reports
INTERVAL = (
    "95 %: where the density of a real scan with the target kernel lies. How often it did on pairs of scans, real and "
    "simulated: docs/densitometry.md."
)
NO_WARNINGS = "No warnings."
ARROW = " \N{RIGHTWARDS ARROW} "
TIMES = " \N{MULTIPLICATION SIGN} "
MINUS = "\N{MINUS SIGN}"
#: Names for unnamed kernels in a title.
UNNAMED = {"unnamed": "found in the image", "reference": "that of a reference"}
WHEN = {"before": "before", "after": "after", "truth": "truth"}

Pair = tuple[str, str]


def heading(facts: Mapping[str, Any]) -> str:
    """Return the title of a report."""
    kernel = facts["kernel"] or {}
    if kernel.get("source") and kernel.get("target"):
        ends = (UNNAMED.get(kernel[end], kernel[end]) for end in ("source", "target"))
        return f"Kernel {ARROW.join(ends)}"
    if any(each["of"] == "target" for each in kernel.get("curves", ())):
        return f"Kernel found in the image{ARROW}soft kernel"
    kind = "CT" if facts["kind"] == "ct" else "image"
    return f"{'Translated' if is_paired(facts) else 'Generated'} {kind}"


def is_paired(facts: Mapping[str, Any]) -> bool:
    """Return whether the result has a source."""
    return "before" in facts["values"]


def subtitle(facts: Mapping[str, Any]) -> str:
    """Return shape and voxel spacing of the image."""
    spacing = TIMES.join(f"{mm:g}" for mm in facts["spacing_mm"])
    place = f", {spacing} mm" if facts["kind"] == "ct" else ""
    return f"{TIMES.join(map(str, facts['shape']))} {'voxels' if len(facts['shape']) == 3 else 'pixels'}{place}"


def tiles_of(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the key figures: name, value and unit."""
    found = []
    if noise := facts["noise"]:
        before, after = (noise[when]["deviation_hu"] for when in ("before", "after"))
        found.append(("Noise in soft tissue", f"{before:.1f}{ARROW}{after:.1f}", "HU, standard deviation"))
    if (kernel := facts["kernel"]) and {"source", "result"} <= (halves := half_gains(kernel)).keys():
        target = f", target {halves['target']}" if "target" in halves else ""
        found.append(("Gain of one half at", f"{halves['source']}{ARROW}{halves['result']}", f"cycles/mm{target}"))
    if lungs := facts["densitometry"]:
        before, after = (lungs[when]["both"]["laa950_percent"] for when in ("before", "after"))
        found.append(
            (f"LAA{MINUS}950, both lungs", f"{before:.1f}{ARROW}{after:.1f}", f"% of the lung; {interval(lungs)}")
        )
    if change := facts["values"].get("difference"):
        unit = facts["unit"] or "grey values"
        spread = f"mean absolute {change['mean_absolute']:.1f} {unit}"
        found.append(("Mean change", signed(change["mean"], 2), f"{unit}; {spread}"))
    return found


def half_gains(kernel: Mapping[str, Any]) -> dict[str, str]:
    """Return the half-gain frequencies of source, target and result, by name."""
    highest = f"> {kernel['frequencies_per_mm'][-1]:.2f}"
    halves = {each["of"]: each["half_gain_per_mm"] for each in kernel["curves"]}
    return {end: highest if half is None else f"{half:.2f}" for end, half in halves.items()}


def signed(value: float, digits: int = 1) -> str:
    """Format a number with its sign."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else (f"+{text}" if value > 0 else f"{MINUS}{text}")


def interval(lungs: Mapping[str, Any]) -> str:
    """Return a short text of the interval of LAA-950 for both lungs, or that there is none."""
    known = (lungs.get("interval_95") or {}).get("both")
    return limits(known["laa950_percent"], ".1f", "95 %: ") if known else "no interval"


def limits(ends: tuple[float, float], form: str, before: str = "") -> str:
    """Format an interval."""
    return before + " to ".join(format(end, form) for end in ends)


def lung_table(lungs: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of densities."""
    head = ["", "", *(title.replace("-", MINUS) for _, title, _ in COLUMNS)]
    rows = []
    for side in SIDES:
        for when, title in WHEN.items():
            if when in lungs:
                values = [(lungs[when][side][key], form) for key, _, form in COLUMNS]
                cells = ["\N{EN DASH}" if value is None else format(value, form) for value, form in values]
                rows.append([side, title, *(cell.replace("-", MINUS) for cell in cells)])
                if when == "after" and (known := (lungs.get("interval_95") or {}).get(side)):
                    cells = [limits(known[key], form) if key in known else "" for key, _, form in COLUMNS]
                    rows.append([side, "95 %", *(cell.replace("-", MINUS) for cell in cells)])
    return head, rows


def interval_text(lungs: Mapping[str, Any]) -> str:
    """Return an explanation of the interval of the densities, or why there is none."""
    if lungs.get("interval_95"):
        return INTERVAL
    return f"No interval: {lungs.get('no_interval') or 'it was not looked for'}."


def origin(facts: Mapping[str, Any]) -> Iterator[Pair]:
    """Yield how the result was made, as far as it is known: name and value."""
    told = facts["provenance"] or {}
    yield "Bundle", f"{facts['bundle']} {told.get('version', facts['version'])}"
    if facts["kernel"] and facts["kernel"]["about"]:
        yield "Kernel", facts["kernel"]["about"]
    if not told:
        yield "Provenance", "none lies beside the result"
    yield from plain({key: value for key, value in told.items() if key not in ("version", "tiles")})
    for scale, tiles in enumerate(told.get("tiles") or ()):
        yield f"tiles, scale {scale}", ", ".join(f"{key} {value}" for key, value in plain(tiles))


def plain(value: Any, before: str = "") -> Iterator[Pair]:
    """Flatten nested data: yield name and value of each entry."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from plain(inner, f"{before} {key}".strip())
    elif isinstance(value, (list, tuple)):
        yield before, ", ".join(map(str, value))
    elif value is not None:
        yield before, str(value)


def caption(row: Row) -> str:
    """Return the caption of a slice's pictures."""
    if row.place is None:
        return ""
    detail = f", enlarged {row.enlarged} times" if row.enlarged > 1 else ""
    return f"slice {row.number}, {row.place:.0f} mm{detail}".replace("-", MINUS)


def window_text(facts: Mapping[str, Any]) -> str:
    """Return a description of the display window."""
    ct = facts["kind"] == "ct"
    window = f"Lung window: level {MINUS}600, width 1500 HU." if ct else "Grey: the middle 98.5 % of the values."
    return window + (f" Difference: result {MINUS} source." if "difference" in facts["values"] else "")
