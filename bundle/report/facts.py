"""Collect the contents of a report as plain data for JSON, without names of files or patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bundle import __version__
from bundle.geometry import ALIKE, corners_apart
from bundle.images import Volume
from bundle.images.provenance import NAME
from bundle.report.kernels import kernel_facts
from bundle.report.noise_power import deviation_of, flat_places, patch_power, radial_mean
from bundle.scanner import spread_slices
from bundle.transforms.densitometry import measured

SLICES = 16  # largest number of slices whose values are compared
#: Keys of a result's provenance that a report shows.
SHOWN = ("version", "source", "result", "weights", "job", "device", "seed", "settings", "tiles", "seconds")
#: Keys of the densitometry that are left out: file names, and warnings, which are listed separately.
NAMES = ("source", "result", "warnings")


def facts_of(
    source: Volume | None,
    result: Volume,
    hu: bool,
    comparable: bool = True,
    provenance: Mapping[str, Any] | None = None,
    densities: Mapping[str, Any] | None = None,
    truth: Volume | None = None,
) -> dict[str, Any]:
    """Return the contents of a result's report.

    Args:
        source: the source image; None for an image generated from noise.
        result: the result as written.
        hu: whether both are CTs in HU.
        comparable: whether both have the same unit.
        provenance: provenance of the result (`bundle.images.provenance.read_provenance`), as far as it is known.
        densities: lung densities, if they are already measured (`bundle.transforms.densitometry.measured`).
        truth: the true image.

    Raises:
        ValueError: If the images do not lie on one grid.
    """
    for name, other in (("source", source), ("truth", truth)):
        if other is not None:
            check_grid(result, name, other)
    told = provenance or {}
    measurable = hu and source is not None and not result.is_picture
    lungs: Mapping[str, Any] = {}
    if measurable and source is not None:
        lungs = densities or measured(source, result, kernel=told.get("kernel"))
    said = [*told.get("warnings", ()), *lungs.get("warnings", ())]
    return {
        "bundle": NAME,
        "version": __version__,
        "kind": "ct" if hu else "image",
        "unit": "HU" if hu else None,
        "shape": list(result.shape[: 2 if result.is_picture else 3]),
        "spacing_mm": [round(mm, 4) for mm in result.spacing[: 2 if result.is_picture else 3]],
        "values": value_facts(source, result, comparable),
        "kernel": kernel_facts(told.get("kernel"), source, result) if measurable and source is not None else None,
        "noise": noise_facts(source, result) if measurable and source is not None else None,
        "densitometry": lung_facts(lungs, truth, result),
        "warnings": list(dict.fromkeys(str(text) for text in said)),
        "provenance": {key: told[key] for key in SHOWN if key in told} or None,
    }


def check_grid(result: Volume, name: str, other: Volume) -> None:
    """Refuse a source or truth that does not lie on the result's grid; of pictures the shapes alone are compared.

    Raises:
        ValueError: If shapes or places differ.
    """
    if other.shape != result.shape:
        raise ValueError(
            f"result {result.path.name!r} has {result.shape} voxels, its {name} {other.path.name!r} {other.shape}; all "
            "must lie on one grid."
        )
    shift = 0.0 if result.is_picture else corners_apart(result.shape, result.affine, other.affine)
    if shift > ALIKE * min(result.spacing):
        raise ValueError(
            f"result {result.path.name!r} and its {name} {other.path.name!r} lie {shift:.3g} mm apart; all must lie on "
            "one grid."
        )


def lung_facts(lungs: Mapping[str, Any], truth: Volume | None, result: Volume) -> dict[str, Any] | None:
    """Return the densities without file names, and the truth's in the same mask; None if there are no lungs."""
    if not lungs or lungs["after"]["both"]["mean_hu"] is None:
        return None
    found = {key: value for key, value in lungs.items() if key not in NAMES}
    return {**found, "truth": measured(truth, result)["before"]} if truth is not None else found


def value_facts(source: Volume | None, result: Volume, comparable: bool) -> dict[str, Any]:
    """Return mean and standard deviation of the values and of their difference, over at most 16 slices."""
    numbers = spread_slices(result.shape[2], SLICES)
    after, before, change = Moments(), Moments(), Moments()
    absolute = Moments()
    for z in numbers:
        plane = result.slab(z, z + 1).numpy().astype(np.float64)
        after.add(plane)
        if source is not None:
            other = source.slab(z, z + 1).numpy().astype(np.float64)
            before.add(other)
            change.add(plane - other)
            absolute.add(np.abs(plane - other))
    found: dict[str, Any] = {"slices": len(numbers), "after": after.summary()}
    if source is not None:
        found["before"] = before.summary()
    if source is not None and comparable:
        found["difference"] = {**change.summary(), "mean_absolute": absolute.summary()["mean"]}
    return found


class Moments:
    """Running mean and standard deviation of values that are added in parts."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Add some values, float64."""
        self.count, self.sum = self.count + values.size, self.sum + float(values.sum())
        self.squares += float(np.square(values).sum())

    def summary(self) -> dict[str, float]:
        """Return mean and standard deviation, rounded."""
        mean = self.sum / self.count
        variance = max(self.squares / self.count - mean**2, 0.0)
        return {"mean": round(mean, 3), "deviation": round(variance**0.5, 3)}


def noise_facts(source: Volume, result: Volume) -> dict[str, Any] | None:
    """Return noise spectra and standard deviations at the flat places of the result; None if there are none."""
    places = flat_places(result)
    if not places:
        return None
    found: dict[str, Any] = {"patches": len(places)}
    for when, image in (("before", source), ("after", result)):
        power = patch_power(image, places)
        frequencies, radial = radial_mean(power, image.spacing)
        found["frequencies_per_mm"] = [round(float(f), 4) for f in frequencies]
        found[when] = {
            "deviation_hu": round(deviation_of(power, image.spacing), 3),
            "power_hu2_mm2": [round(float(value), 4) for value in radial],
        }
    return found
