"""Write a derived X-ray: the header of a CR, DX or other single image with new pixels, as one file.

Its stored values have the same meaning as the source's: class, bits, photometric interpretation, rescaling, LUTs and
display window are kept (DICOM PS3.3, A.2 CR and A.26 DX Image IOD).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bundle.images.derived.image import Derivation, derived_image, uid_of
from bundle.images.dicom_headers import read_header
from bundle.images.dicom_levels import stored_of
from bundle.images.readback import check_tail
from bundle.runtime.files import atomic

#: Further attributes that these images must have, possibly empty (type 2), by modality.
DIGITAL = (
    "PatientOrientation",
    "DetectorType",
    "PositionerType",
    "AnatomicRegionSequence",
    "AcquisitionContextSequence",
)
TYPE_2 = {"CR": ("PatientOrientation", "BodyPartExamined", "ViewPosition"), "DX": DIGITAL, "MG": DIGITAL}


def write_derived_xray(source: str | Path, path: str | Path, levels: Any, derivation: Derivation) -> None:
    """Write an X-ray derived from another; it appears under its name only when it is complete.

    The images that one derivation makes from one series form one series.

    Args:
        source: file of the source X-ray.
        path: file to create; an earlier result there is replaced.
        levels: `(columns, rows)`, integers from 0, as dark as air, to 2 ** BitsStored - 1 (`bundle.images.xray`).
        derivation: how they were made.

    Raises:
        ValueError: If the levels do not have the source's shape, or exceed the range that it can store.
        FileExistsError: If the path is the source itself.
    """
    source, path, values = Path(source), Path(path), np.asarray(levels)
    if path.resolve() == source.resolve():
        raise FileExistsError(f"path {str(path)!r} is the source itself; take another output_postfix.")
    header = read_header(source)
    shape, top = (header.Columns, header.Rows), 2**header.BitsStored - 1
    if values.shape != shape:
        raise ValueError(
            f"the result has {values.shape} pixels, its source {str(source)!r} {shape}; they have to agree."
        )
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"levels of {values.min()} to {values.max()} do not fit {str(source)!r}: clip to 0 to {top}.")
    pixels = stored_of(values.T, header).tobytes()
    derived = derived_image(
        header, pixels, derivation, type_2=TYPE_2.get(header.get("Modality"), ("PatientOrientation",))
    )
    derived.SeriesInstanceUID = uid_of(header.SeriesInstanceUID, *derivation.parts())
    wide = header.BitsAllocated > 8
    stored = pixels + bytes(len(pixels) % 2)
    derived.add_new(0x7FE00010, "OW" if wide else "OB", stored)
    with atomic(path, len(stored), lambda part: check_tail(part, stored)) as part:
        derived.save_as(part)
