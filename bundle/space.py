"""Space: a result that the disk has no room for is refused before the work begins."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from bundle.depth import depth_of, level_type
from bundle.readback import least_bytes
from bundle.runtime.files import check_space
from bundle.sinks import result_ext
from monai.config import KeysCollection
from monai.transforms import MapTransform


class CheckSpaced(MapTransform):
    """Refuse images whose result the disk has no room for, before the work begins.

    Args:
        keys: images as they were loaded.
        output_dir: folder of the results; it need not exist.
        output_ext: as of `SaveImageAsSourced`.
        output_dtype: name of the voxel type of the file, such as ``int16``.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path = "output",
        output_ext: str = "",
        output_dtype: str = "int16",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir, self.output_ext, self.output_dtype = Path(output_dir), output_ext, output_dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Leave the images as they are.

        Raises:
            NotWrittenError: If the disk has less free than a result takes at least.
        """
        for key in self.key_iterator(dict(data)):
            image = data[key]
            bits = depth_of(image)
            end = "" if "series_uid" in image.meta and not self.output_ext else result_ext(image, self.output_ext)
            needed = least_bytes(image.shape, self.output_dtype if bits is None else level_type(bits), end)
            check_space(self.output_dir / Path(str(image.meta.get("filename_or_obj", "image"))).name, needed)
        return dict(data)
