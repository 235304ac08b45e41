"""Load any image: MONAI's transform around `bundle.images.reader.ScanReader`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from bundle.images import ScanReader, open_image
from bundle.images.reader import quiet_readers
from bundle.transforms.check_input import CheckInput
from monai.config import KeysCollection
from monai.transforms import LoadImaged


class LoadImageOrSeriesd(LoadImaged):
    """Load any image that `bundle.images.find_images` finds, a DICOM series folder among them.

    The format follows from the path, and no other reader is tried: a broken file gives its own error.

    Args:
        keys: paths, or images that are open already (`bundle.images.Opened`).
        series_uid: of DICOM folders with several series, the Series Instance UID of the one to take.
        spatial_dims: how many axes are needed; null for two or three.
        check: what looks at images that are opened here, of which nobody else has; null for nothing.
        kwargs: of MONAI's `LoadImaged`.
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
