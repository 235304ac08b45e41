"""MONAI's reader of any image: opened by `bundle.images.formats.open_image`, and read whole."""

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
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImage
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple


class ScanReader(ImageReader):
    """Read any image that `bundle.images.find_images` finds; errors come through.

    To be given to MONAI's `LoadImage` when it is called: one that is given when it is made is tried among all others,
    which read in their own ways what this one refuses.

    Args:
        series_uid: of a DICOM folder with several series, the Series Instance UID of the one to take.
        spatial_dims: how many axes are needed; null for two or three.
    """

    def __init__(self, series_uid: str = "", spatial_dims: int | None = None) -> None:
        self.series_uid, self.spatial_dims = series_uid, spatial_dims

    def verify_suffix(self, filename: Any) -> bool:
        """Whether each path exists and is of a known format, or is a folder."""
        return all(Path(name).is_dir() or format_of(name) is not None for name in ensure_tuple(filename))

    def read(self, data: Any, **_: Any) -> Opened:
        """Open a path, or take what is open.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a single image of a known format, or of another number of axes.
        """
        (given,) = ensure_tuple(data)
        image = given if isinstance(given, Opened) else open_image(given, self.series_uid)
        return image.of_dims(self.spatial_dims) if self.spatial_dims else image

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """All voxels, `(*spatial)`, and what MONAI needs to know of them."""
        return img.whole(), metadata(img)


def metadata(image: Opened) -> dict[str, Any]:
    """The metadata of an image in memory."""
    return {
        MetaKeys.AFFINE: image.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: image.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(image.shape),
        MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        MetaKeys.SPACE: SpaceKeys.RAS,
        **image.meta,
    }


def load_image(path: str | Path, series_uid: str = "") -> MetaTensor:
    """Read an image whole, `(*spatial)`, float32; errors as of `ScanReader`."""
    with quiet_readers():
        load = LoadImage(image_only=True, expanduser=False)
    return load(str(path), reader=ScanReader(series_uid))


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Keep back what MONAI tells of nvImageCodec when it sets up all the readers that it knows."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "NvImgCodecPydicomReader")
        yield
