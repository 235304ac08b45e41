"""Voxels reordered in blocks are the ones that NumPy gives, in every shape, type and byte order."""

import numpy as np
import pytest

from bundle.images.layout import BLOCK, file_bytes, in_order_of

LONG = 2 * BLOCK + 5
SHAPES = [(1, 1, 1), (BLOCK, 3, 2), (LONG, 4, 3), (7, BLOCK + 1), (3, 2, LONG), (5, 4, 3, 2), (0, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", ["C", "F"])
def test_voxels_are_numpy_s(shape, given):
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape).copy(given)
    for order in ("C", "F"):
        found = in_order_of(order, voxels)
        assert found.flags[f"{order}_CONTIGUOUS"] and np.array_equal(found, voxels) and found.dtype == voxels.dtype
        assert np.array_equal(in_order_of(order, voxels[::-1, ::-1]), voxels[::-1, ::-1])
    for kind in ("<i2", ">i2", "<f4", ">f4"):
        assert bytes(file_bytes(voxels, np.dtype(kind))) == voxels.astype(kind).tobytes("F")


def test_voxels_in_that_order_are_not_copied():
    voxels = np.zeros((4, 3, 2), np.float32)
    assert in_order_of("C", voxels) is voxels and in_order_of("C", voxels, np.dtype(np.int16)) is not voxels
