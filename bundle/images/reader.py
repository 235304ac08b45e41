"""MONAI image reader for all formats: opens with `bundle.images.formats.open_image` and reads the whole image."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bundle.images.formats import format_of, open_image
from bundle.images.image import Opened
from bundle.images.layout import in_order_of
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImage
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple


class ScanReader(ImageReader):
    """Read any image that `bundle.images.find_images` finds, and raise the errors of its format.

    Pass it to MONAI's `LoadImage` in the call. A reader passed to the constructor is only one of many that are tried,
    and another may read in its own way what this one refuses.

    Args:
        series_uid: Series Instance UID of the series to read from a DICOM folder with several.
        spatial_dims: required number of axes; null for two or three.
    """

    def __init__(self, series_uid: str = "", spatial_dims: int | None = None) -> None:
        self.series_uid, self.spatial_dims = series_uid, spatial_dims

    def verify_suffix(self, filename: Any) -> bool:
        """Return whether each path is a folder or an existing file of a known format."""
        return all(Path(name).is_dir() or format_of(name) is not None for name in ensure_tuple(filename))

    def read(self, data: Any, **_: Any) -> Opened:
        """Open a path, or take an image that is open already.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is not a single image of a known format, or has another number of axes.
        """
        (given,) = ensure_tuple(data)
        image = given if isinstance(given, Opened) else open_image(given, self.series_uid)
        return image.of_dims(self.spatial_dims) if self.spatial_dims else image

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Return all voxels, `(*spatial)`, and the metadata that MONAI needs."""
        return in_order_of("C", img.whole()), metadata(img)


def metadata(image: Opened) -> dict[str, Any]:
    """Return the MONAI metadata of an image."""
    return {
        MetaKeys.AFFINE: image.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: image.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(image.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        MetaKeys.SPACE: SpaceKeys.RAS,
        **image.meta,
    }


def load_image(path: str | Path, series_uid: str = "") -> MetaTensor:
    """Read a whole image, `(*spatial)`, float32; raises the errors of `ScanReader`."""
    with quiet_readers():
        load = LoadImage(image_only=True, expanduser=False)
    return load(str(path), reader=ScanReader(series_uid))


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Silence MONAI's messages about nvImageCodec while it sets up all its readers."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "NvImgCodecPydicomReader")
        yield
