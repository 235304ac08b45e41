"""Load any image: MONAI's transform around `bundle.images.reader.ScanReader`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from bundle.images import ScanReader
from monai.config import KeysCollection
from monai.transforms import LoadImaged


class LoadImageOrSeriesd(LoadImaged):
    """Load any image that `bundle.images.find_images` finds, a DICOM series folder among them.

    The format follows from the path, and no other reader is tried: a broken file gives its own error.

    Args:
        keys: paths, or images that are open already (`bundle.images.Opened`).
        series_uid: of DICOM folders with several series, the Series Instance UID of the one to take.
        spatial_dims: how many axes are needed; null for two or three.
        kwargs: of MONAI's `LoadImaged`.
    """

    def __init__(
        self, keys: KeysCollection, series_uid: str = "", spatial_dims: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(keys, reader=ScanReader, **{"expanduser": False, **kwargs})
        self.reader = ScanReader(series_uid, spatial_dims)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Load the images under the keys as `(*spatial)`."""
        return super().__call__(data, reader or self.reader)
