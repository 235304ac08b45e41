"""Describe a kernel conversion by curves: the kernels of source and target, and the kernel found in the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from bundle.images import Volume
from bundle.scanner import SOFT, Kernel, TransferFunction, find_kernel
from bundle.scanner.kernels import catalogue
from bundle.transforms.chosen import OWN

SPACE = 0.02  # cycles/mm between points of a curve
HIGHEST = 1.2  # cycles/mm
UNNAMED = ("", "unnamed", "reference")
MOST_TEXT = 500


def kernel_facts(told: Mapping[str, Any] | None, source: Volume, result: Volume) -> dict[str, Any] | None:
    """Return the kernels' names and transfer functions, for JSON; None if none is known or found.

    Args:
        told: the conversion according to the result's provenance; None if no kernel was converted or it is unknown.
        source: a CT in HU.
        result: the result for that CT.
    """
    told = told if isinstance(told, Mapping) else {}
    named = {end: text_of(told.get(end)) for end in ("source", "target", "about")}
    highest = min(0.5 / max(result.spacing[:2]), HIGHEST)
    frequencies = np.arange(0, highest + SPACE / 2, SPACE)
    kernels = {
        "source": source_kernel(told, named["source"], named["about"], source),
        "target": target_kernel(told, named["target"], named["about"]),
        "result": (find_kernel(result, result.spacing), "found in the result"),
    }
    curves = [
        {"of": end, "from": where, **curve(kernel, frequencies)}
        for end, (kernel, where) in kernels.items()
        if kernel is not None
    ]
    if not curves and not any(named.values()):
        return None
    return {
        "source": named["source"] or None,
        "target": named["target"] or None,
        "about": named["about"] or None,
        "frequencies_per_mm": [round(float(f), 4) for f in frequencies],
        "curves": curves,
    }


def text_of(value: Any) -> str:
    """Return a string from a file, truncated if it is too long; an empty string for any other value."""
    return value[:MOST_TEXT] if isinstance(value, str) else ""


def source_kernel(told: Mapping[str, Any], name: str, about: str, image: Volume) -> tuple[TransferFunction | None, str]:
    """Return the kernel that a CT was converted from, by default the one found in the CT now, and its origin."""
    if found := read_kernel(told.get("found")):
        return found, "found in the image"
    if name not in UNNAMED and OWN not in about and (known := catalogue().find(name)):
        return known, f"{known.name} of the catalogue"
    return find_kernel(image, image.spacing), "found in the image"


def target_kernel(told: Mapping[str, Any], name: str, about: str) -> tuple[TransferFunction | None, str]:
    """Return the kernel that a CT was converted to, and its origin; None if it is not known."""
    if name and name not in UNNAMED and OWN not in about and (known := catalogue().find(name)):
        return known, f"{known.name} of the catalogue"
    if read_kernel(told.get("found")) and not name:
        return SOFT, "the bundle's soft kernel"
    return None, ""


def read_kernel(found: Any) -> Kernel | None:
    """Return the kernel described in a file; None if the description is not usable."""
    try:
        numbers = {key: float(found[key]) for key in ("half", "order", "edge", "position", "cutoff")}
    except (KeyError, TypeError, ValueError):
        return None
    usable = all(np.isfinite(value) and abs(value) < 100 for value in numbers.values())
    positive = all(numbers[key] > 0.01 for key in ("half", "order", "position", "cutoff"))
    return Kernel(**numbers) if usable and positive else None


def curve(kernel: TransferFunction, frequencies: np.ndarray) -> dict[str, Any]:
    """Return a kernel's gains, and the frequency in cycles/mm at which they fall to a half; None if they never do."""
    gains = kernel.transfer(torch.from_numpy(frequencies)).numpy()
    below = np.flatnonzero(gains < 0.5)
    half = None
    if len(below) and below[0] > 0:
        at = slice(below[0] - 1, below[0] + 1)
        half = round(float(np.interp(-0.5, -gains[at], frequencies[at])), 4)
    return {"half_gain_per_mm": half, "gains": [round(float(gain), 4) for gain in gains]}
