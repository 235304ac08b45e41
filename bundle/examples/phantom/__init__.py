"""ThoraxPhantom: an analytic thorax CT in HU of any size, whose windows are computed without the rest.

`bodies` defines ellipsoids and tubes, `anatomy` arranges them, `grain` adds noise and texture, `thorax` paints windows.
``python -m bundle.examples.phantom OUT.nii.gz`` writes one.
"""

from bundle.examples.phantom.grain import sharp_noise, texture
from bundle.examples.phantom.thorax import ThoraxPhantom

__all__ = ["ThoraxPhantom", "sharp_noise", "texture"]
