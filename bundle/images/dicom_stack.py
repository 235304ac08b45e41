"""Find the files in a DICOM folder that form one upright stack of slices, sorted by position."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from bundle.images.dicom_headers import (
    PREAMBLE,
    SIZE,
    SLICES,
    check_length,
    class_of,
    has_first_group,
    is_cut,
    is_dicom,
    read_header,
    value_of,
)
from bundle.images.dicom_rules import PIXELS, PLACE, check_pixels, check_place, check_units
from bundle.images.image import ImageError
from bundle.runtime.hashes import stamp
from bundle.runtime.origins import in_words

#: Attributes that tell the kind of a file.
SORTING = ("SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "ImageType", *SIZE)
#: Attributes that must agree in all slices that have them: else positions or values cannot be compared.
SHARED = ("SOPClassUID", "FrameOfReferenceUID", "RescaleType")
#: Attributes in which slices at the same position may differ.
MOMENT = ("AcquisitionNumber", "AcquisitionTime", "ContentTime", "TemporalPositionIdentifier", "ConvolutionKernel")

#: Largest variation of the distance between slices, as a share of it.
SLICE_TOLERANCE = 0.05
#: Description of a scout.
LOCALIZER = "is a localizer"
#: End of the description of a multi-frame image.
FRAMES = " frames"
#: Remedy for a file that may be a slice, for error messages.
WAY_OUT = "fetch it again, or move it away if it is none of the series"

#: Largest shear of the whole stack, as a share of a pixel.
SHEAR_TOLERANCE = 0.5
#: Positions in mm and direction cosines that differ by less are the same.
GRID_TOLERANCE = 1e-4


def series_files(folder: str | Path, series_uid: str | None = "") -> list[str]:
    """Return the files of one image series in a DICOM folder, sorted by position.

    Segmentations, structure sets, localizers, multi-frame images and other objects that are not slices are left out.

    Args:
        folder: folder that directly holds the files.
        series_uid: Series Instance UID of the series to take; needed only if the folder holds several. Null if no
            key chooses one here, which messages then do not name.

    Raises:
        ImageError: If there is no such series, or if there are several and none is selected; if a file beside its
            slices is empty or cut short; if a slice breaks one of the rules of `bundle.images.dicom_rules`; or if its
            slices do not form an upright, evenly spaced stack: some are missing or duplicated, lie on different grids,
            or are sheared by a gantry tilt.
    """
    return list(_series_files(str(folder), series_uid, tuple(sorted(map(stamp, Path(folder).iterdir())))))


@lru_cache(maxsize=2)
def _series_files(folder: str, series_uid: str | None, _: tuple[tuple[str, int, int], ...]) -> tuple[str, ...]:
    """Sort out a folder only once while it does not change: it is asked for by naming, reading and writing."""
    entries, series, others = _sorted_out(folder, (*PLACE, *PIXELS, *SORTING, *SHARED, *MOMENT))
    where = f"DICOM folder {str(folder)!r}"
    if "" in series and len(series) > 1:
        raise ImageError(
            f"{where}: file {str(series[''][0].filename)!r} has no SeriesInstanceUID, and others have one: it may be a "
            f"slice of theirs; {WAY_OUT}."
        )
    chosen = [series_uid] if series_uid else list(series)
    if len(chosen) != 1 or chosen[0] not in series:
        raise ImageError(f"{where} {_choice(series, others, series_uid)}")
    slices = series[chosen[0]]
    _check_files(where, entries, slices, others)
    for header in others:
        if (why := _lacks(header)).endswith(FRAMES):
            print(in_words(f"passed over: {header.filename}, beside the slices of a volume: it {why}"), file=sys.stderr)
    for header in slices:
        check_place(header)
        check_pixels(header)
        check_units(header)
        check_length(header)
    slices = sorted(slices, key=lambda header: (_depth(header), str(header.filename)))
    _check_stack(where, slices)
    return tuple(str(header.filename) for header in slices)


def series_in(folder: str | Path) -> dict[str, list[str]]:
    """Return the slices of each image series in a DICOM folder, by Series Instance UID, sorted by file name.

    Raises:
        ImageError: If a file cannot be read, or may be a lost slice, see `series_files`.
    """
    entries, series, others = _sorted_out(folder, (*PLACE, *SORTING))
    if len(series) > 1:
        for slices in series.values():
            _check_files(f"DICOM folder {str(folder)!r}", entries, slices, others)
    return {uid: [str(header.filename) for header in slices] for uid, slices in series.items()}


def is_localizer(file: str | Path) -> bool:
    """Return whether a DICOM file is a scout, which is not a slice of a volume; false if it cannot be read."""
    try:
        return _lacks(read_header(file, (*PLACE, *SORTING))) == LOCALIZER
    except ImageError:
        return False


def _sorted_out(
    folder: str | Path, tags: tuple[str, ...]
) -> tuple[list[Path], dict[str, list[pydicom.Dataset]], list[pydicom.Dataset]]:
    """Return the entries of a folder, the headers of each series' slices, and those of other DICOM files."""
    series: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    others: list[pydicom.Dataset] = []
    # skip hidden files, and the index of a disc, which some versions of pydicom follow
    entries = sorted(e for e in Path(folder).iterdir() if not e.name.startswith(".") and e.name != "DICOMDIR")
    for file in filter(is_dicom, entries):
        header = read_header(file, tags)
        (others if _lacks(header) else series[str(value_of(header, "SeriesInstanceUID") or "")]).append(header)
    return entries, series, others


def _lacks(header: pydicom.Dataset) -> str:
    """Return why a file is not a slice of a volume; an empty string if it is."""
    if "LOCALIZER" in (value_of(header, "ImageType") or ""):
        return LOCALIZER
    frames = value_of(header, "NumberOfFrames")
    if frames not in (None, "", 0, 1):
        return f"has {frames}{FRAMES}"
    empty = [keyword for keyword in (*PLACE, "Rows", "Columns") if not value_of(header, keyword)]
    return f"has no {empty[0]}" if empty else ""


def _choice(
    series: Mapping[str, Sequence[pydicom.Dataset]], others: Sequence[pydicom.Dataset], series_uid: str | None
) -> str:
    """Explain why no series can be taken: the rule, the series that there are, and the remedy."""
    listed = "; ".join(
        f"{_shown(uid)} ({_shown(value_of(slices[0], 'SeriesDescription') or 'no description')}), {len(slices)} slices"
        for uid, slices in series.items()
    )
    rule = f"has no image series with series_uid {series_uid!r}" if series_uid else "has to hold one image series"
    way_out = " Choose one by series_uid, or keep one of them." if series else ""
    if series and series_uid is None:
        way_out = " No key chooses one here: give a folder that holds one of them alone."
    if not series and others:
        found = next((header for header in others if class_of(header) in SLICES), others[0])
        way_out = f" Its file {str(found.filename)!r}, for one, {_lacks(found)}."
    return f"{rule}; it holds: {listed or 'none'}.{way_out}"


def _shown(value: object) -> str:
    """Return a header value in one printable line."""
    return str(value) if str(value).isprintable() else ascii(str(value))


def _check_files(
    where: str, entries: Sequence[Path], slices: Sequence[pydicom.Dataset], others: Sequence[pydicom.Dataset]
) -> None:
    """Refuse a folder that may have lost a slice: a file is empty, cut short, or a link to a missing file."""
    suffixes = {_suffix(Path(str(header.filename))) for header in slices} | {".dcm"}
    for entry in entries:
        if _suffix(entry) not in suffixes or entry.is_dir():
            continue
        if not entry.exists():
            raise ImageError(f"{where}: {entry.name!r} is a link to a file that is not there; {WAY_OUT}.")
        size = entry.stat().st_size
        if not size:
            raise ImageError(f"{where}: file {str(entry)!r} is empty; {WAY_OUT}.")
        if not is_dicom(entry) and (_suffix(entry) == ".dcm" or not _is_text(entry)):
            raise ImageError(
                f"{where}: file {str(entry)!r} of {size} bytes is cut short, or is not a DICOM file; {WAY_OUT}."
            )
    classes = {class_of(header) for header in slices}
    uid = value_of(slices[0], "SeriesInstanceUID")
    for header in (*slices, *others):
        lacks, file = _lacks(header), str(header.filename)
        own = value_of(header, "SeriesInstanceUID") == uid
        if lacks not in ("", LOCALIZER) and class_of(header) in classes and (own or "frames" not in lacks):
            raise ImageError(
                f"{where}: file {file!r} {lacks}, unlike the slices: it is cut short or damaged, or none of "
                f"them; {WAY_OUT}."
            )
        if is_cut(header):
            raise ImageError(f"{where}: file {file!r} is cut short within its header; {WAY_OUT}.")


def _is_text(file: Path) -> bool:
    """Return whether a file begins like text, and not like DICOM without a preamble."""
    with file.open("rb") as stream:
        start = stream.read(PREAMBLE)
    return not has_first_group(start) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)


def _suffix(file: Path) -> str:
    """Return a file's suffix; the last number of a name such as 1.2.840.10008 does not count."""
    end = file.suffix.lower()
    return "" if end[1:].isdigit() else end


def _normal(header: pydicom.Dataset) -> np.ndarray:
    """Return the normal of a slice, `(3,)`."""
    row, column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
    return np.cross(row, column)


def _depth(header: pydicom.Dataset) -> float:
    """Return the position of a slice along its normal, in mm."""
    return float(_normal(header) @ np.asarray(header.ImagePositionPatient, float))


def _check_stack(where: str, slices: Sequence[pydicom.Dataset]) -> None:
    """Refuse slices, sorted along their normal, that do not form an upright, evenly spaced stack on one grid."""
    grids = np.array([[h.Rows, h.Columns, *h.PixelSpacing, *h.ImageOrientationPatient] for h in slices], float)
    if np.ptp(grids, axis=0).max() > GRID_TOLERANCE:
        raise ImageError(f"{where}: the slices differ in shape, pixel spacing or orientation; keep those of one stack.")
    for keyword in SHARED:
        named = {str(value): h for h in slices if (value := value_of(h, keyword)) not in (None, "")}
        if len(named) > 1:
            told = " and ".join(f"{value} in {Path(str(h.filename)).name!r}" for value, h in list(named.items())[:2])
            raise ImageError(f"{where}: the slices differ in {keyword}, {told}; keep those of one.")
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
