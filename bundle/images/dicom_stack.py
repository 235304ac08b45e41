"""Stack: the files of a DICOM folder that make one upright stack of slices, in the order of their position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from bundle.images.dicom_headers import PREAMBLE, SIZE, check_length, is_dicom, read_header
from bundle.images.image import ImageError

#: What tells where a slice lies.
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
#: What tells what it is.
KIND = ("SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "ImageType", *SIZE)
#: What may tell slices of one place apart.
MOMENT = ("AcquisitionNumber", "AcquisitionTime", "ContentTime", "TemporalPositionIdentifier", "ConvolutionKernel")

#: Slices may lie this far, in shares of their distance, from a regular grid.
SLICE_TOLERANCE = 0.05
#: The whole stack may be sheared by this share of a pixel.
SHEAR_TOLERANCE = 0.5
#: Positions in mm and direction cosines that are closer than this are the same.
GRID_TOLERANCE = 1e-4


def series_files(folder: str | Path, series_uid: str = "") -> list[str]:
    """The files of one image series in a DICOM folder, in the order of their position.

    Segmentations, structure sets, localizers, multi-frame images and other objects that are no slice are left aside.

    Args:
        folder: holds the files itself.
        series_uid: Series Instance UID of the series to take; needed only if the folder holds several.

    Raises:
        ImageError: If there is no such series or it has to be chosen; if a file beside its slices is empty or cut
            short; and if its slices are no upright stack of evenly spaced ones: some missing or there several times, of
            different grids, or sheared by a gantry tilt.
    """
    series: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    others: list[pydicom.Dataset] = []
    # neither hidden files nor the index of a disc, which some versions of pydicom follow
    entries = sorted(e for e in Path(folder).iterdir() if not e.name.startswith(".") and e.name != "DICOMDIR")
    for file in filter(is_dicom, entries):
        header = read_header(file, (*PLACE, *KIND, *MOMENT))
        (series[str(header.get("SeriesInstanceUID", ""))] if _is_slice(header) else others).append(header)
    where = f"DICOM folder {str(folder)!r}"
    chosen = [series_uid] if series_uid else list(series)
    if len(chosen) != 1 or chosen[0] not in series:
        listed = "; ".join(
            f"{uid} ({slices[0].get('SeriesDescription') or 'no description'}), {len(slices)} slices"
            for uid, slices in series.items()
        )
        rule = f"has no image series with series_uid {series_uid!r}" if series_uid else "has to hold one image series"
        way_out = " Choose one by series_uid, or keep one of them." if series else ""
        raise ImageError(f"{where} {rule}; it holds: {listed or 'none'}.{way_out}")
    slices = sorted(series[chosen[0]], key=lambda header: (_depth(header), str(header.filename)))
    _check_files(where, entries, slices, others)
    _check_stack(where, slices)
    return [str(header.filename) for header in slices]


def _is_slice(header: pydicom.Dataset) -> bool:
    """Whether a header is that of one slice of a volume."""
    placed = all(header.get(keyword) for keyword in (*PLACE, "Rows", "Columns"))
    return placed and int(header.get("NumberOfFrames") or 1) == 1 and not _is_localizer(header)


def _is_localizer(header: pydicom.Dataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or "")


def _check_files(
    where: str, entries: Sequence[Path], slices: Sequence[pydicom.Dataset], others: Sequence[pydicom.Dataset]
) -> None:
    """Refuse a folder of which a slice may have been lost: a file that is empty, cut short, or was not fetched."""
    way_out = "fetch it again, or move it away if it is none of the series"
    suffixes = {_suffix(Path(str(header.filename))) for header in slices} | {".dcm"}
    for entry in entries:
        if _suffix(entry) not in suffixes or entry.is_dir():
            continue
        if not entry.exists():
            raise ImageError(f"{where}: {entry.name!r} is a link to a file that is not there; {way_out}.")
        size = entry.stat().st_size
        if not size:
            raise ImageError(f"{where}: file {str(entry)!r} is empty; {way_out}.")
        if not is_dicom(entry) and (_suffix(entry) == ".dcm" or _is_cut(entry)):
            raise ImageError(
                f"{where}: file {str(entry)!r} of {size} bytes is cut short, or is no DICOM file; {way_out}."
            )
    kinds = {header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") for header in slices}
    for header in others:
        same = (header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")) in kinds
        if same and not _is_localizer(header) and int(header.get("NumberOfFrames") or 1) == 1:
            raise ImageError(
                f"{where}: file {str(header.filename)!r} is a slice without position, orientation or size: it is cut "
                f"short within its header; {way_out}."
            )
    for header in slices:
        check_length(header)


def _is_cut(file: Path) -> bool:
    """Whether a file ends within DICOM's preamble, and is no text."""
    with file.open("rb") as stream:
        start = stream.read(PREAMBLE)
    return len(start) < PREAMBLE and not all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)


def _suffix(file: Path) -> str:
    """A file's suffix; the last number of a name such as 1.2.840.10008 is none."""
    end = file.suffix.lower()
    return "" if end[1:].isdigit() else end


def _normal(header: pydicom.Dataset) -> np.ndarray:
    """Direction across a slice, `(3,)`."""
    row, column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
    return np.cross(row, column)


def _depth(header: pydicom.Dataset) -> float:
    """Position of a slice along the direction across it, in mm."""
    return float(_normal(header) @ np.asarray(header.ImagePositionPatient, float))


def _check_stack(where: str, slices: Sequence[pydicom.Dataset]) -> None:
    """Refuse slices, in the order of their depth, that are no upright, evenly spaced stack on one grid."""
    grids = np.array([[h.Rows, h.Columns, *h.PixelSpacing, *h.ImageOrientationPatient] for h in slices], float)
    if np.ptp(grids, axis=0).max() > GRID_TOLERANCE:
        raise ImageError(f"{where}: the slices differ in shape, pixel spacing or orientation; keep those of one stack.")
    positions, normal = np.array([header.ImagePositionPatient for header in slices], float), _normal(slices[0])
    depths = positions @ normal
    gaps = np.diff(depths)
    if (gaps < GRID_TOLERANCE).any():
        at = int(np.argmax(gaps < GRID_TOLERANCE))
        found = {keyword: [str(header.get(keyword, "")) for header in slices] for keyword in MOMENT}
        telling = [f"{k}: {', '.join(sorted(set(v))[:8])}" for k, v in found.items() if v[at] != v[at + 1]]
        raise ImageError(
            f"{where}: {len(slices)} slices lie at {1 + int((gaps >= GRID_TOLERANCE).sum())} positions. The series "
            f"holds several time points or reconstructions, or copies ({'; '.join(telling) or 'the headers agree'}); "
            "move the files of one of them into a folder of its own."
        )
    if len(gaps) and np.ptp(gaps) > SLICE_TOLERANCE * np.median(gaps):
        widest = slices[int(gaps.argmax())], slices[int(gaps.argmax()) + 1]
        between = " and ".join(repr(Path(str(header.filename)).name) for header in widest)
        raise ImageError(
            f"{where}: slices lie {gaps.min():.3f} to {gaps.max():.3f} mm apart, the most between {between}. They have "
            "to be evenly spaced: one may be missing there; fetch it, or keep the slices on one side."
        )
    straight = positions[0] + np.outer(depths - depths[0], normal)
    shift = float(np.linalg.norm(positions - straight, axis=1).max())
    if shift > SHEAR_TOLERANCE * min(slices[0].PixelSpacing):
        tilt = np.degrees(np.arctan2(shift, depths[-1] - depths[0]))
        raise ImageError(
            f"{where}: the slices are shifted in their plane, by {shift:.2f} mm from the first to the last: a gantry "
            f"tilt of {tilt:.1f} degrees. They have to lie straight above each other; resample them, for instance by "
            "dcm2niix."
        )
