"""Measure a phantom's series by pylinac: HU, uniformity, noise power and MTF.

HU values are pylinac's medians of its regions in all slices within `SPAN` of a module's middle: with the noise of a
sharp kernel, a single slice is less accurate than the required 2 HU.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
import pylinac
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pylinac.ct import CTP404CP504, CTP486

from apps.qa.measured import PERCENT, Measured

#: pylinac's classes by the name given to ``--phantom``.
PHANTOMS = {
    "catphan503": pylinac.CatPhan503,
    "catphan504": pylinac.CatPhan504,
    "catphan600": pylinac.CatPhan600,
    "catphan604": pylinac.CatPhan604,
    "acr": pylinac.ACRCT,
}
SPAN = 5.0  # mm on both sides of a module's middle


def measure(folder: str, phantom: str) -> Measured:
    """Measure a series.

    Args:
        folder: folder with the DICOM files of one series.
        phantom: one of `PHANTOMS`.

    Raises:
        ValueError: If pylinac does not find the phantom and its modules, or there are several series.
    """
    series = {uid for uid in map(series_uid, sorted(Path(folder).rglob("*"))) if uid}
    if len(series) > 1:  # pylinac would mix their files
        raise ValueError(f"{folder!r} holds {len(series)} series of images; give a folder with one of them.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about scikit-image's next version, and MTF levels that are not reached
        try:
            scan = PHANTOMS[phantom](folder)
            scan.analyze()
            return of_acr(scan) if phantom == "acr" else of_catphan(scan)
        except (ValueError, IndexError, TypeError, AttributeError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{folder!r} cannot be measured as {phantom}: {reason.rstrip('.')}; give the --phantom that was"
                " scanned, and one axial CT series with all of its modules."
            ) from error


def series_uid(path: Path) -> str:
    """Return the Series Instance UID of a DICOM image; empty for any other file."""
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SeriesInstanceUID"])
    except (InvalidDicomError, OSError):
        return ""
    return str(ds.get("SeriesInstanceUID", "")) if "Image Storage" in ds.get("SOPClassUID", UID("")).name else ""


def of_catphan(scan: Any) -> Measured:
    """Return the measurements of a CatPhan analysed by pylinac."""

    class Inserts(type(scan.ctp404)):  # type: ignore[misc]
        """Module with the inserts, whose ramps and nodes are measured only in the middle slice."""

        thickness_roi_settings: ClassVar[dict[str, Any]] = {}
        geometry_roi_settings: ClassVar[dict[str, Any]] = {}

    limits = {"hu_tolerance": 40, "thickness_tolerance": 1, "scaling_tolerance": 1, "clear_borders": scan.clear_borders}
    linearity = [Inserts(scan, offset=at, **limits) for at in offsets(scan, scan._get_module(CTP404CP504)[1])]
    kind, middle = scan._get_module(CTP486)
    uniform = [kind(scan, offset=at, tolerance=40, clear_borders=scan.clear_borders) for at in offsets(scan, middle)]
    spectra = [one.power_spectrum_1d for one in uniform]
    side = uniform[0].power_spectrum_2d.shape[0]  # the spectrum's bins are multiples of 1 / (side * pixel)
    up_to_nyquist = range(1, side // 2 + 1)
    mtf = scan.ctp528.mtf
    return Measured(
        values(linearity),
        values(uniform),
        [float(one.rois["Center"].std) for one in uniform],
        [k / (side * float(scan.mm_per_pixel)) for k in up_to_nyquist],
        [float(np.mean([one[k] for one in spectra])) for k in up_to_nyquist],
        {float(pairs): float(value) for pairs, value in mtf.norm_mtfs.items()},
        {percent: mtf.relative_resolution(percent) for percent in PERCENT},
        float(scan.ctp404.meas_slice_thickness),
        np.asarray(scan.dicom_stack[scan.origin_slice].array, float),
    )


def of_acr(scan: Any) -> Measured:
    """Return the measurements of an ACR phantom analysed by pylinac."""
    inserts, uniform = (
        [type(module)(scan, offset=at, clear_borders=scan.clear_borders) for at in offsets(scan, module._offset)]
        for module in (scan.ct_calibration_module, scan.uniformity_module)
    )
    mtf = scan.spatial_resolution_module.mtf
    return Measured(
        values(inserts),
        values(uniform),
        [float(one.rois["Center"].std) for one in uniform],
        [],
        [],
        {float(pairs): float(value) for pairs, value in mtf.norm_mtfs.items()},
        {percent: mtf.relative_resolution(percent) for percent in PERCENT},
        None,
        np.asarray(scan.dicom_stack[scan.origin_slice].array, float),
    )


def offsets(scan: Any, middle: float) -> Iterator[float]:
    """Yield the offsets of the slices within `SPAN` of a module's middle, in mm from the module with the inserts."""
    count = int(SPAN / scan.dicom_stack.slice_spacing)
    for number in range(-count, count + 1):
        yield middle + number * scan.dicom_stack.slice_spacing


def values(modules: list[Any]) -> dict[str, list[float]]:
    """Return the median HU of each region, one value per module."""
    shared = [name for name in modules[0].rois if all(name in module.rois for module in modules)]
    return {name: [float(module.rois[name].pixel_value) for module in modules] for name in shared}
