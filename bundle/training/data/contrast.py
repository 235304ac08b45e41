"""Grey values bent at random, for a change of contrast."""

from __future__ import annotations

from collections.abc import Hashable

from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import RandHistogramShiftd

#: Least range of grey values, in the network's units (-1..1), that is bent; less is rounding of a flat patch.
FLAT = 1e-4


class RandContrastd(RandHistogramShiftd):
    """MONAI's `RandHistogramShiftd`, which would turn a patch that is flat up to rounding, such as air, into NaNs."""

    def __call__(self, data: dict[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Bend the grey values, except of flat patches."""
        out = super().__call__(data)
        flat = [key for key in self.key_iterator(dict(data)) if data[key].max() - data[key].min() < FLAT]
        return out | {key: data[key] for key in flat}
