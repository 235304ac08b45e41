"""Segment the body and the lungs in a target slice, and compute metrics within the body."""

from __future__ import annotations

import math

import numpy as np
from bundle.evaluation.metrics.similarity import LUNG as LUNG_WINDOW
from bundle.evaluation.metrics.similarity import maps
from bundle.scanner import filled_body
from bundle.transforms.lungs import large_parts
from scipy.ndimage import binary_closing, binary_erosion, binary_fill_holes, gaussian_filter, label
from torch import Tensor

SMOOTHING = 2.0  # voxels
BODY = -400.0  # HU
LUNG = -600.0  # HU
INSIDE = 6  # voxels by which the filled body is eroded, to leave out the air around it
CLOSING = 10  # voxels


def body_mask(target: np.ndarray) -> np.ndarray:
    """Return a boolean mask: the largest component above -400 HU of a smoothed slice, `(x, y)` in HU, filled."""
    return filled_body(gaussian_filter(target, SMOOTHING) > BODY)


def whole_and_body(result: Tensor, target: Tensor, use: Tensor | None = None) -> list[float]:
    """Return mean SSIM and MAE of a slice in the lung window, then the same within the body, NaN if there is none.

    Args:
        result: `(x, y, 1)` in HU; rounded to integers before the comparison.
        target: `(x, y, 1)` in HU.
        use: boolean mask `(x, y)` of the voxels to evaluate; null for all.
    """
    ssim, error, _ = (part[0].double().numpy() for part in maps(result.round(), target, LUNG_WINDOW))
    judged = np.ones(ssim.shape, bool) if use is None else use.numpy()
    body = judged & body_mask(target[..., 0].numpy())
    inside = [np.nanmean(ssim[body]), error[body].mean()] if body.any() else [math.nan, math.nan]
    return [float(value) for value in (np.nanmean(ssim[judged]), error[judged].mean(), *inside)]


def lung_mask(target: np.ndarray) -> np.ndarray:
    """Return a boolean mask of the voxels below -600 HU in a smoothed slice, `(x, y)` in HU, inside the body.

    The body is closed, filled, and eroded by 6 voxels. Components smaller than a tenth of the largest are left out.
    """
    closed = binary_fill_holes(binary_closing(body_mask(target), iterations=CLOSING))
    air = (gaussian_filter(target, SMOOTHING) < LUNG) & binary_erosion(closed, iterations=INSIDE)
    return large_parts(label(air)[0])
