"""ThoraxPhantom: an analytic thorax CT in HU, of any size, any window of it computed without the rest.

`bodies` (ellipsoids and tubes) are laid out by `anatomy`, roughened by `grain`, and painted by `thorax`.
``python -m bundle.examples.phantom OUT.nii.gz`` writes one.
"""

from bundle.examples.phantom.grain import sharp_noise, texture
from bundle.examples.phantom.thorax import ThoraxPhantom

__all__ = ["ThoraxPhantom", "sharp_noise", "texture"]
