"""Both ways of an image through the bundle, in memory and streamed, with nothing between them that changes it."""

import shutil
from pathlib import Path

import pytest
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, Orientationd

from bundle.transforms import FinishImaged, LoadImageOrSeriesd, PrepareImaged, RoundAndCastd, SaveImageAsSourced

both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["in memory", "streamed"])


def through(path, folder, streaming, dims=3, dtype="int16", finishing=FinishImaged, **keys):
    """Translate an image by nothing, and return what was written."""
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    shutil.rmtree(folder, ignore_errors=True)
    opening = [LoadImageOrSeriesd("image", spatial_dims=dims), EnsureChannelFirstd("image")]
    opening += [Orientationd("image", "RAS", labels=None)] if dims == 3 else []
    preprocessing = Compose(opening)
    restoring = [Invertd("pred", preprocessing, "image", nearest_interp=False)] if dims == 3 else [AsImaged()]
    saving = SaveImageAsSourced("pred", folder, output_dtype=dtype, **keys)
    postprocessing = Compose([*restoring, RoundAndCastd("pred", dtype), saving])
    ends = {"output_ext": keys.get("output_ext", ""), "output_dtype": dtype}
    preparing = PrepareImaged("image", preprocessing, streaming, folder, spatial_dims=dims, **ends)
    image = preparing({"image": str(path)})["image"]
    if streaming:
        shape = image.shape[2:]
        result = image.sibling("result_0", shape, shape)
        whole = (..., *(slice(0, side) for side in shape))
        result[whole] = image[whole]
        finishing("pred", postprocessing, opening)({"pred": result})
    else:
        postprocessing({"image": image, "pred": MetaTensor(image.clone(), meta=image.meta)})
    (made,) = Path(folder).iterdir()
    return made


class AsImaged:
    """What pasting does to a result in 2D: it gets the source's metadata."""

    def __call__(self, data):
        return {**data, "pred": MetaTensor(data["pred"], meta=data["image"].meta)}
