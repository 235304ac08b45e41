"""ThoraxPhantom: an analytic thorax CT in HU, of any size, any window of it computed without the rest.

`bodies` (ellipsoids and tubes) are laid out by `anatomy`, roughened by `grain`, and painted by `thorax`.
``python -m bundle.phantom OUT.nii.gz`` writes one.
"""

from bundle.phantom.thorax import ThoraxPhantom

__all__ = ["ThoraxPhantom"]
