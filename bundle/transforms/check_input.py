"""Refuse images that are not a CT in HU, and warn of CTs whose results are less reliable, before translation.

::

    opened image --header, 16 slices--> scores --> refuse: other modality or units, masked, empty, constant, noise
                                               '-> warn: soft already, iterative, cut off, metal, no thorax, ...

The limits separate real CTs, including crops of them, from unsuitable images; docs/input.md has the measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from bundle.geometry import slice_distance
from bundle.images import ImageError, Opened, Volume
from bundle.images.dicom_headers import read_header
from bundle.runtime import warn
from bundle.transforms.input_scores import InputScores, input_scores

ACTIONS = ("refuse", "warn", "off")

NARROW = 15.0  # HU: the values of a CT span more, by their noise alone
FLAT = 120.0  # HU: a smaller spread may be a single tissue, without values below 0
BRIGHT = 300.0  # HU: the median of tissue without air and fat is lower
DEPTH = 0.03  # share of the spread by which fat, lung and air reach below 0
OUTSIDE = 5.0  # percent of voxels outside the range of a CT
ZEROS = 10.0  # percent of voxels that are exactly 0
EQUAL = 60.0  # percent of voxels at another value that is not air
PADDED = 25.0  # percent of voxels at one value in air, and ...
LUNG_LEFT = 60.0  # ... percent of the others that are lung: the image is a lung that was cut out
EMPTY = -900.0  # HU: even the densest block is air
STRUCTURE = 0.25  # deviation of the means of 64 pixels, relative to that of the voxels: white noise has 0.125
LOUD = 200.0  # HU: with a larger deviation of the voxels, white noise is not a single noisy tissue

SIDE = (0.2, 3.0)  # mm: larger pixels do not resolve the frequencies at which kernels differ
SMALLEST = 0.001  # mm: smaller voxels are refused
THICK = 10.0  # mm between slices
LONGER = 1.5  # times the other sides: a voxel with a longer side lies in slices across that side
PLANES = ("sagittal", "coronal", "axial")  # by the axis that runs across
NOISY = 200.0  # HU: noise in soft tissue
SOFT = 0.5  # noise from 0.45 to 0.55 cycles/mm, relative to that from 0.25 to 0.35; B40f has 0.49
BORDER = 30.0  # percent of the border of the slices that is tissue
METAL = 0.01  # percent of voxels above 2500 HU
WIDE = 200.0  # mm: a smaller slice may not contain lung
LUNGS = 4.0  # percent of the body that is air

#: Header fields that name an iterative or learned reconstruction.
TEXTS = (
    "ConvolutionKernel",
    "ReconstructionAlgorithm",
    "FilterType",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "DerivationDescription",
)
#: Vendors' private fields with the same information.
PRIVATE = ((0x0053, 0x1040), (0x0053, 0x1042), (0x01F7, 0x109B), (0x7005, 0x100B))
_NAMES = r"asir(-v)?|admire|safire|iris|idose\d?|imr|aidr|aice|veo|mbir|truefidelity|dlir|clearview|iterative"
ITERATIVE = re.compile(rf"(?<![a-z])({_NAMES})(?![a-z])", re.IGNORECASE)
#: Siemens: a SAFIRE kernel, or a kernel followed by the strength of ADMIRE.
SIEMENS = re.compile(r"^I\d\d[fhsm]|\\[1-5]$")


class CheckInput:
    """Check that an image is a CT in HU as the networks and the search for its kernel expect.

    Args:
        action: ``refuse`` to raise an error, ``warn`` to warn only, ``off`` to check nothing.
        soft: whether to warn of a CT that is already as soft as the result should be.

    Raises:
        ValueError: If the action is unknown.
    """

    def __init__(self, action: str = "refuse", soft: bool = False) -> None:
        if action not in ACTIONS:
            raise ValueError(f"check_input {action!r} is not known; take one of {', '.join(ACTIONS)}.")
        self.action, self.soft = action, soft

    def __call__(self, image: Opened) -> list[str]:
        """Check an image, and return the warnings, one line each without its name; 2D images are not checked.

        Args:
            image: `(x, y, z)`, opened from a path or held in memory; at most 16 of its slices are read.

        Raises:
            ImageError: If the image is refused, or cannot be read.
        """
        if self.action == "off" or len(image.shape) != 3:
            return []
        name, header = f"image {str(image.path)!r}", _header(image)
        refusal = _unfit(image, header)
        self._refuse(image, refusal)
        scores = None if refusal else input_scores(image)
        if scores is not None:
            refusal = next(_refusals(scores), None)
            self._refuse(image, refusal)
        found = [refusal] if refusal else []
        if scores is not None and not refusal:
            found = [*_by_header(header), *_by_scores(scores, image, self.soft)]
        for text in found:
            warn(f"{text}.", name)
        return found

    @staticmethod
    def refusal(image: Opened) -> str | None:
        """Return why an image is not a CT in HU; None if it may be one. At most 16 of its slices are read."""
        if len(image.shape) != 3:
            return "is no volume; give a CT"
        return _unfit(image, _header(image)) or next(_refusals(input_scores(image)), None)

    def by_header(self, image: Opened) -> None:
        """Check the header only, without reading voxels.

        Raises:
            ImageError: If the image is refused.
        """
        if self.action != "off" and len(image.shape) == 3:
            self._refuse(image, _unfit(image, _header(image)))

    def _refuse(self, image: Opened, refusal: str | None) -> None:
        if refusal and self.action == "refuse":
            raise ImageError(f"image {str(image.path)!r} {refusal}, or set --check_input warn.")


def _header(image: Opened) -> dict[str, str]:
    """Return the header fields of a DICOM series that are checked; empty for other formats."""
    if not image.files:
        return {}
    found = read_header(image.files[0], ("Modality", "Manufacturer", *TEXTS, *PRIVATE))  # type: ignore[arg-type]
    texts = {name: found.get(name) for name in ("Modality", "Manufacturer", *TEXTS, *PRIVATE)}
    return {str(name): _text(value) for name, value in texts.items() if value}


def _text(value: object) -> str:
    """Return the value of a field as text; multiple values are joined by a backslash."""
    value = getattr(value, "value", value)
    return value if isinstance(value, str) else "\\".join(str(part) for part in _several(value))


def _several(value: object) -> list[object]:
    if isinstance(value, bytes):
        return [value.decode("latin-1")]
    return list(value) if hasattr(value, "__iter__") else [value]


def _unfit(image: Opened, header: dict[str, str]) -> str | None:
    """Return why an image is no CT by its header; None if it may be one."""
    modality, side = header.get("Modality", "CT"), min(image.spacing)
    if modality != "CT":
        return f"has the modality {modality!r}; this model is for CT; give a CT series"
    if side < SMALLEST:
        return f"has voxels of {side:.3g} mm; those of a CT have {SMALLEST:g} mm at least; correct its header"
    return None


def _refusals(scores: InputScores) -> Iterator[str]:
    """Yield the reasons why an image is not a CT in HU, the most obvious first: value, rule and remedy."""
    span = scores.high - scores.low
    if scores.high == scores.low:
        yield f"has the value {scores.high:g} in all its voxels; a CT is not constant; give the scan itself"
    if span < NARROW:
        yield (
            f"has values from {scores.low:g} to {scores.high:g} only; those of a CT in HU span more than {NARROW:g}; "
            "undo its scaling first"
        )
    if scores.outside > OUTSIDE:
        yield (
            f"has {scores.outside:.1f} % of its values below -1400 or above 3200; a CT in HU has at most "
            f"{OUTSIDE:g} %; convert it to HU first"
        )
    if scores.depth < DEPTH and (scores.spread > FLAT or scores.median > BRIGHT):
        yield (
            f"has values from {scores.low:g} up, median {scores.median:g}; in a CT in HU air is at -1000, lung and "
            "fat are below 0; give a CT, and subtract 1024 if these are stored values without their rescale intercept"
        )
    if scores.zeros > ZEROS:
        yield _masked(scores.zeros, 0.0, ZEROS)
    if scores.equal > EQUAL:
        yield _masked(scores.equal, scores.value, EQUAL)
    if scores.padded > PADDED and scores.lung_left > LUNG_LEFT:
        yield (
            f"is one value in {scores.padded:.1f} % of its voxels, and {scores.lung_left:.1f} % of the others are "
            f"lung; a CT for this model is not masked (at most {LUNG_LEFT:g} %); give the unmasked scan"
        )
    if scores.tissue < EMPTY:
        yield (
            f"has nothing denser than {scores.tissue:.0f} HU (mean of 8 x 8 pixels); a CT shows tissue above "
            f"{EMPTY:g} HU; give slices with the patient in them"
        )
    if scores.structure < STRUCTURE and (scores.deviation > LOUD or scores.side > WIDE):
        yield (
            f"is noise: means of 8 x 8 pixels vary by {scores.structure:.2f} of what its voxels do, those of a CT by "
            f"{STRUCTURE:g} at least; give the scan itself"
        )


def _masked(share: float, value: float, limit: float) -> str:
    return (
        f"is exactly {value:g} in {share:.1f} % of its voxels; a CT for this model is not masked (at most "
        f"{limit:g} %); give the unmasked scan"
    )


def _by_header(header: dict[str, str]) -> Iterator[str]:
    """Yield warnings from the header about a less reliable result."""
    kernel = header.get("ConvolutionKernel", "")
    named = [found[0] for text in header.values() if (found := ITERATIVE.search(text))]
    if "siemens" in header.get("Manufacturer", "").lower() and SIEMENS.search(kernel):
        named.append(kernel)
    if named:
        yield (
            f"is an iterative reconstruction by its header ({named[0]!r}); its kernel depends on contrast and dose and "
            "is found less surely; take the filtered back projection if there is one"
        )


def _across(volume: Volume) -> int:
    """Return the axis that runs across the slices: of DICOM the file's last, of others one with far longer voxels."""
    if volume.image.files:
        return int(np.argmax(np.abs(volume.image.affine[:3, 2])))
    thickest = int(np.argmax(volume.spacing))
    return thickest if volume.spacing[thickest] > LONGER * sorted(volume.spacing)[1] else 2


def _by_scores(scores: InputScores, image: Opened, soft: bool) -> Iterator[str]:
    """Yield warnings from the voxels and the geometry about a less reliable result."""
    volume = Volume(image)  # whose first two axes are the plane in which kernels are found and converted
    pixel, slices = max(volume.spacing[:2]), slice_distance(volume.affine) if volume.shape[2] > 1 else 0.0
    across = _across(volume)
    if across != 2:
        yield (
            f"has {PLANES[across]} slices; kernels are found and converted in the axial plane, not in theirs; give the "
            "axial series"
        )
    if not SIDE[0] <= min(volume.spacing[:2]) <= pixel <= SIDE[1]:
        yield (
            f"has pixels of {pixel:.3g} mm; kernels differ at those of {SIDE[0]:g} to {SIDE[1]:g} mm; check the header"
        )
    if slices > THICK:
        yield f"has slices {slices:.3g} mm apart; the model knows up to {THICK:g} mm; check the header"
    if scores.noise is not None and scores.noise > NOISY:
        yield f"has noise of {scores.noise:.0f} HU in soft tissue, more than {NOISY:g}; take thicker slices"
    if soft and scores.sharpness is not None and scores.sharpness < SOFT:
        yield (
            f"is soft already: its noise at 0.5 cycles/mm has {scores.sharpness:.2f} of the power at 0.3, that of a "
            f"sharp kernel more than {SOFT:g}; it needs no conversion"
        )
    if scores.border > BORDER:
        yield (
            f"is cut off: {scores.border:.0f} % of the border of its slices is tissue, more than {BORDER:g} %; the "
            "kernel is found less surely without skin; take the full field of view if there is one"
        )
    if scores.metal > METAL:
        yield (
            f"shows metal: {scores.metal:.2g} % of its voxels lie above 2500 HU, more than {METAL:g} %; streaks are no "
            "noise of a kernel; do not measure beside them"
        )
    if scores.lungs is not None and scores.lungs < LUNGS and scores.side > WIDE and scores.border <= BORDER:
        yield (
            f"seems to be no thorax: {scores.lungs:.1f} % of the body is air, less than {LUNGS:g} %; the model is "
            "trained on chests; compare with real scans"
        )
