"""MONAI transforms around the cascade, a thin wrapper each: load a scan, mark, paste back, save as it came."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from bundle.images import ScanReader
from monai.config import KeysCollection
from monai.transforms import LoadImaged


class LoadImageOrSeriesd(LoadImaged):
    """Load any image that `bundle.images.find_images` finds, a DICOM series folder among them.

    The format follows from the path, so that a broken file gives its own error and not one of every reader tried.

    Args:
        keys: paths.
        series_uid: of DICOM folders with several series, the Series Instance UID of the one to take.
        kwargs: of MONAI's `LoadImaged`.
    """

    def __init__(self, keys: KeysCollection, series_uid: str = "", **kwargs: Any) -> None:
        super().__init__(keys, reader=ScanReader, **kwargs)
        self.reader = ScanReader(series_uid)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Load the paths under the keys as `(*spatial)`."""
        return super().__call__(data, reader or self.reader)
