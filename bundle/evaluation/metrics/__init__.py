"""Metrics of the evaluation.

- For pairs: `similarity` (SSIM, MAE, MSE), `lung_density` (densitometry), `seams` (jumps across tile borders),
  `significance` (paired t-test), and noise power by `bundle.report.noise_power`; `masks` finds body and lungs.
- For sets of images: `frechet` (distance of two sets), `nearest` (nearest training image of a sample), with `slices`
  (pictures of an image's planes) and `features` (feature networks).
"""

from bundle.evaluation.metrics.features import EfficientNetLite, Features, FileFeatures, RandomFeatures
from bundle.evaluation.metrics.frechet import between, frechet_distance, plane_features
from bundle.evaluation.metrics.lung_density import UNKNOWN, Density, densitometry, lung_blocks
from bundle.evaluation.metrics.masks import body_mask, lung_mask, whole_and_body
from bundle.evaluation.metrics.nearest import Match, Pooled, nearest
from bundle.evaluation.metrics.seams import faces_of, grid, jumps, seam
from bundle.evaluation.metrics.significance import p_text, paired_p
from bundle.evaluation.metrics.similarity import (
    BLOCK,
    LUNG,
    NAMES,
    Comparison,
    IntensityWindow,
    compare,
    maps,
    windowed,
)
from bundle.evaluation.metrics.slices import planes, spread
from bundle.report.noise_power import flat_places, noise_spectrum

__all__ = [
    "BLOCK",
    "LUNG",
    "NAMES",
    "UNKNOWN",
    "Comparison",
    "Density",
    "EfficientNetLite",
    "Features",
    "FileFeatures",
    "IntensityWindow",
    "Match",
    "Pooled",
    "RandomFeatures",
    "between",
    "body_mask",
    "compare",
    "densitometry",
    "faces_of",
    "flat_places",
    "frechet_distance",
    "grid",
    "jumps",
    "lung_blocks",
    "lung_mask",
    "maps",
    "nearest",
    "noise_spectrum",
    "p_text",
    "paired_p",
    "plane_features",
    "planes",
    "seam",
    "spread",
    "whole_and_body",
    "windowed",
]
