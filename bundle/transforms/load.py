"""Load any image with MONAI's transform and `bundle.images.reader.ScanReader`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from bundle.images import open_image
from bundle.images.reader import ScanReader, quiet_readers
from bundle.transforms.check_input import CheckInput
from monai.config import KeysCollection
from monai.transforms import LoadImaged


class LoadImageOrSeriesd(LoadImaged):
    """Load any image that `bundle.images.find_images` finds, including folders of DICOM series.

    The format follows from the path, and no other reader is tried: a broken file gives its own error.

    Args:
        keys: paths, or images that are open already (`bundle.images.Opened`).
        series_uid: Series Instance UID of the series to read from DICOM folders with several.
        spatial_dims: required number of axes; null for two or three.
        check: checks images that are opened here and were not checked before; null for no check.
        kwargs: arguments of MONAI's `LoadImaged`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        series_uid: str = "",
        spatial_dims: int | None = None,
        check: CheckInput | None = None,
        **kwargs: Any,
    ) -> None:
        with quiet_readers():
            super().__init__(keys, reader=ScanReader, **{"expanduser": False, **kwargs})
        self.reader, self.check = ScanReader(series_uid, spatial_dims), check

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Load the images under the keys as `(*spatial)`.

        Raises:
            ImageError: If one cannot be read, or is refused (`bundle.transforms.CheckInput`).
        """
        given = dict(data)
        for key in self.key_iterator(given):
            if self.check and reader is None and isinstance(given[key], (str, Path)):
                given[key] = open_image(given[key], self.reader.series_uid)
                self.check(given[key])
        return super().__call__(given, reader or self.reader)
