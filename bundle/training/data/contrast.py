"""Randomly shift grey values, for a change of contrast."""

from __future__ import annotations

from collections.abc import Hashable

from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import RandHistogramShiftd

#: Smallest range of grey values that is shifted, in the network's units (-1..1); less is rounding in a flat patch.
FLAT = 1e-4


class RandContrastd(RandHistogramShiftd):
    """MONAI's `RandHistogramShiftd`, but leave patches alone that are flat up to rounding: it would make them NaN."""

    def __call__(self, data: dict[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Shift the grey values of all patches but flat ones."""
        out = super().__call__(data)
        flat = [key for key in self.key_iterator(dict(data)) if data[key].max() - data[key].min() < FLAT]
        return out | {key: data[key] for key in flat}
