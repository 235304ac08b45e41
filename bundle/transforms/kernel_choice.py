"""Choose the kernels that a CT is converted between: by name, from a file, or found in the CT or a reference scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from bundle.runtime import note, noted, remark, typed_path, warn
from bundle.scanner import SOFT, Conversion, Slices, Transfer, TransferFunction, find_kernel, find_transfer
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.finding import DISAGREEING
from bundle.scanner.gains import MOST, quotient, softening, softening_between
from bundle.scanner.kernels import Kernels, catalogue, read_kernels
from bundle.scanner.uncertainty import fit_uncertainty, uncertainty
from bundle.transforms.chosen import OWN, Chosen, described, shown
from bundle.transforms.named_kernel import BAND, DIFFERENT, KEYS, NamedKernel, difference_of
from bundle.transforms.references import content_of

DEFAULT_TARGET = "B40f"  # the catalogue's name of the kernel `bundle.scanner.SOFT`
SHARPER = 1.1  # mean gain between 0.15 and 0.5 cycles/mm above which a target is sharper than the source
UNKNOWN = "the kernel of the image is not known, and too little skin and flat tissue is seen to find it"


@dataclass(frozen=True)
class KernelChoice:
    """Choose how a CT is converted.

    Args:
        source_kernel: kernel of the CT: a name in the catalogue, a file written by the run id ``calibrating``, for the
            source in it, or a reference scan or a folder of them, with the kernel that their headers name if it is in
            the catalogue and the scans agree, else the one found in them. Null or empty with a target: the header's
            ConvolutionKernel if it is in the catalogue, else found in the image. Without a target: found in the image,
            else the header's.
        target_kernel: kernel of the result, given in the same ways, a file for the target in it; null or empty for the
            soft kernel of the bundle.
        allow_sharper: allow conversion to a sharper kernel, which raises the noise.
        catalogue: a user's file of kernels, as the run id ``calibrating`` writes it, which extends the bundle's
            catalogue and takes precedence.

    Raises:
        ValueError: If a kernel is neither a name in the catalogue, nor a file, nor a folder, or if a file of kernels
            or the user's catalogue cannot be read.
    """

    source_kernel: str | None = None
    target_kernel: str | None = None
    allow_sharper: bool = False
    catalogue: str | None = None

    def __post_init__(self) -> None:
        keys = {key: key for key in KEYS} | {"catalogue": "kernel_choice#catalogue"}
        for name, key in keys.items():  # as typed: a folder of references may be called 1001
            value = getattr(self, name)
            object.__setattr__(self, name, None if value in (None, "") else typed_path(key, value))
        if self.catalogue is not None and not Path(self.catalogue).is_file():
            raise ValueError(
                f"kernel_choice#catalogue {self.catalogue!r} is not a file; make one by the run id calibrating, or "
                "take null."
            )
        self.own  # noqa: B018  a file that cannot be read is refused before any image is
        for given in () if self._direct() else self.given.values():
            if given.file:
                given.kernel  # noqa: B018  a file that lacks it is refused before any image is read

    @cached_property
    def given(self) -> dict[str, NamedKernel]:
        """The kernels that the user gives, by key."""
        values = {key: getattr(self, key) for key in KEYS}
        return {key: NamedKernel(key, value, self.known) for key, value in values.items() if value is not None}

    @cached_property
    def own(self) -> Kernels:
        """The user's catalogue."""
        return read_kernels(self.catalogue) if self.catalogue else Kernels()

    @cached_property
    def known(self) -> Kernels:
        """The bundle's catalogue, extended by the user's."""
        return catalogue().extended(self.own)

    def settings(self) -> list[Any]:
        """Return the settings that the result depends on: the values of the keys, or the hashes of their files."""
        kernels = [content_of(value) or value for value in (self.source_kernel, self.target_kernel)]
        return [*kernels, self.allow_sharper, content_of(self.catalogue)]

    def __call__(self, image: Slices, spacing: Sequence[float], meta: Mapping[Any, Any] | None = None) -> Chosen:
        """Return the kernel of a CT to be undone, a conversion, or neither, with its description.

        Args:
            image: `(x, y, z)` in HU, read slice by slice.
            spacing: voxel size in mm.
            meta: metadata of the image, with ``convolution_kernel`` and ``manufacturer`` if known.

        Raises:
            ValueError: If the target is sharper than the source and that is not allowed, or if a target is given and
                the kernel of the CT, or of a reference, is not known.
        """
        if self.source_kernel is None and self.target_kernel is None:
            chosen = self._by_default(image, spacing, meta or {})
        else:
            chosen = self._by_keys(image, spacing, meta or {})
        note(kernel=chosen.noted())
        return chosen

    @property
    def looks(self) -> bool:
        """Whether the kernel of a CT is searched for in its voxels."""
        return self.source_kernel is None

    def _by_keys(self, image: Slices, spacing: Sequence[float], meta: Mapping[Any, Any]) -> Chosen:
        """Convert from the named or found source to the named or found target."""
        if direct := self._direct():
            first, second, calibrated = direct
            print(f"kernel: {calibrated.filter.source}")
            conversion = self._checked(calibrated, None, "the calibrated target")
            about = f"kernel converted from {first} to {second} ({OWN})"
            return Chosen(conversion, first, second, about, second, fit_uncertainty(calibrated.filter))
        before = len(noted()["warnings"])
        source = self._source(image, spacing, meta)
        if source is None:
            raise ValueError(
                f"target_kernel {self.target_kernel!r} cannot be reached: {UNKNOWN}; name it by source_kernel, or "
                "leave out target_kernel."
            )
        target = self._target()
        kept = [f"warning: {text}".rstrip(".") for text in noted()["warnings"][before:]]
        print(f"kernel: from {described(source)} to {described(target)}")
        known = self.known.conversion(source.name, target.name)
        if known and source in self.known.kernels and target in self.known.kernels:
            conversion = self._checked(known, target, target.name)
        else:
            gain = quotient(target, source, MOST)
            conversion = self._checked(Conversion(gain), target, target.name or "the target")
        unnamed = "reference" if "source_kernel" in self.given else ""
        ends = source.name or unnamed or "unnamed", target.name or "reference"
        about = f"kernel converted from {described(shown(source, unnamed))} to {described(shown(target, 'reference'))}"
        mine = known is not None and known is self.own.conversion(source.name, target.name)
        sure = fit_uncertainty(known.filter) if known and mine else uncertainty(source, target)
        return Chosen(conversion, *ends, "; ".join([about, *kept]), target.name, sure)

    def _by_default(self, image: Slices, spacing: Sequence[float], meta: Mapping[Any, Any]) -> Chosen:
        """Undo the kernel found in the image; if none is found, convert the header's kernel to the soft one."""
        named = self._header(meta)
        if found := find_transfer(image, spacing):
            if named is not None:
                self._compare(meta, named, found)
            if found.source == DISAGREEING:
                warn(
                    "skin and noise show different kernels, as with clothes tight on the skin, motion, or an iterative "
                    "reconstruction: the kernel that fits both best is undone; name it by source_kernel, or calibrate."
                )
            return Chosen(found.kernel, uncertainty=uncertainty(found))
        if named is None:
            remark(
                f"{UNKNOWN}: the image is left as it is, and only translated by the networks; name it by source_kernel."
            )
            return Chosen()
        print(f"kernel: from {described(named)} to the soft kernel, as too little is seen to find it in the image")
        gains = SOFT.transfer(_frequencies()).tolist()
        soft = Transfer(KNOTS, tuple(gains), name=DEFAULT_TARGET, source="the kernel that the cascade makes")
        conversion = Conversion(softening_between(named, soft))
        about = f"kernel converted from {described(shown(named))}, as the header says, to the soft kernel"
        return Chosen(conversion, named.name, DEFAULT_TARGET, about, DEFAULT_TARGET, uncertainty(named))

    def _header(self, meta: Mapping[Any, Any]) -> Transfer | None:
        """Return the kernel that the header names, if the catalogue has it."""
        header = str(meta.get("convolution_kernel", ""))
        return self.known.find(header, str(meta.get("manufacturer", ""))) if header else None

    @staticmethod
    def _compare(meta: Mapping[Any, Any], named: TransferFunction, found: TransferFunction) -> None:
        """Warn if the kernel of the header and the one found in the image disagree."""
        if (difference := difference_of(named, found)) > DIFFERENT:
            warn(
                f"the header names the kernel {meta['convolution_kernel']!r}, but the image differs from it by "
                f"{100 * difference:.0f} %: the image may have been filtered; name the kernel by source_kernel if the "
                "header is wrong."
            )

    def _direct(self) -> tuple[str, str, Conversion] | None:
        """Return the names and the conversion of a calibration file, if it is given as both source and target."""
        return (
            self.given["source_kernel"].conversion if self.source_kernel == self.target_kernel and self.given else None
        )

    def _source(self, image: Slices, spacing: Sequence[float], meta: Mapping[Any, Any]) -> Transfer | None:
        if given := self.given.get("source_kernel"):
            return given.kernel
        named = self._header(meta)
        if named is None:
            return find_transfer(image, spacing)
        found = find_kernel(image, spacing)
        if found is not None:
            self._compare(meta, named, found)
        return named

    def _target(self) -> Transfer:
        return (self.given.get("target_kernel") or NamedKernel("target_kernel", DEFAULT_TARGET, self.known)).kernel

    def _checked(self, conversion: Conversion, target: Transfer | None, name: str) -> Conversion:
        """Refuse a conversion that sharpens, unless allowed; else limit its gains, except with calibrated levels."""
        if not self.allow_sharper and is_sharper(conversion.filter):
            raise ValueError(
                f"target_kernel {name!r} is sharper than the image's kernel, by {_mean_gain(conversion.filter):.2f} "
                "times between 0.15 and 0.5 cycles/mm; take a softer one, or set allow_sharper, which raises the noise."
            )
        if self.allow_sharper or conversion.levels:
            return conversion
        return Conversion(softening(conversion.filter, target or SOFT))


def is_sharper(gain: Transfer) -> bool:
    """Return whether a gain makes an image sharper on average."""
    return _mean_gain(gain) > SHARPER


def _mean_gain(gain: Transfer) -> float:
    return float(gain.transfer(_frequencies())[BAND].mean())


def _frequencies() -> torch.Tensor:
    return torch.tensor(KNOTS, dtype=torch.float64)
