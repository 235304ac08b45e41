"""Results of the scales before on simulated scans: the previous scale as in inference, with its errors.

The noise of a simulated scan is a function of seed and position (`bundle.scanner`), so that a patch that is cut later
is a part of the scan that the scales before have seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle.geometry import spacing_of
from bundle.runtime.files import atomic
from bundle.scanner import Kernel
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.simulated_pairs import RandKernelPaird, SimulatedScan, kernel_pair_reach
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from torch import Tensor


@dataclass(frozen=True)
class Generated:
    """A simulated scan of an image, null for the image itself, and the result of the scale before, on its own grid."""

    acquisition: SimulatedScan | None
    seed: int
    previous: PackedImage


class RandGeneratedd(Randomizable, MapTransform):
    """Randomly choose a simulated scan for which there is a result of the previous scale, as ``generated``.

    Args:
        keys: the image, a `PackedImage`.
        folder: folder that `generate` has written to; an image without results is left as it is.
        scale: the scale to train.
        prob: fraction of the patches.
    """

    def __init__(self, keys: KeysCollection, folder: str | Path, scale: int, prob: float) -> None:
        MapTransform.__init__(self, keys)
        self.folder, self.scale, self.prob = Path(folder), scale, prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Choose one."""
        out = dict(data)
        for key in self.key_iterator(out):
            wanted = self.R.rand() < self.prob
            stem = Path(out[key].path).stem
            files = sorted(self.folder.glob(f"{stem}_scale_{self.scale}_*.json")) if wanted and self.scale else []
            if files:
                file = files[self.R.randint(len(files))]
                facts = json.loads(file.read_text())
                scan = restored(facts["scan"]) if facts["scan"] else None
                out["generated"] = Generated(scan, facts["seed"], PackedImage(file.with_suffix(".nii")))
        return out


def restored(facts: Mapping[str, Any]) -> SimulatedScan:
    """The acquisition that `dataclasses.asdict` turned into a dictionary."""
    kernels = {name: Kernel(**facts[name]) if facts[name] else None for name in ("kernel", "found")}
    return SimulatedScan(**{**facts, **kernels})


def generate(
    data: Sequence[Mapping[str, str]],
    opening: Callable[[Mapping[str, str]], dict],
    pairing: RandKernelPaird | None,
    windowing: Callable[[dict], dict],
    inferer: Callable[..., torch.Tensor],
    network: torch.nn.Module,
    folder: str | Path,
    scale: int,
    number: int,
    seed: int = 0,
    unseen: Callable[[str], Iterable[torch.nn.Module]] | None = None,
) -> None:
    """Send every image through the simulated scanner and the scales before, a few times; results that exist are kept.

    Args:
        data: training images.
        opening: opens an image as a `PackedImage` under ``image``.
        pairing: draws the scans; null: the scales before translate the images themselves, once.
        windowing: maps the image's units to the network's, under ``image`` and ``label``.
        inferer: a `bundle.cascade.CascadeInferer` for the scales before.
        network: the cascade, with these scales trained.
        folder: folder to write to.
        scale: the scale to train; nothing is done for 0.
        number: number of scans for each image and cascade.
        seed: seed of the scans.
        unseen: cascades for an image's path, which are used instead of ``network`` if there are any
            (`bundle.training.CrossFitting`).
    """
    folder = Path(folder)
    turns = number if pairing else min(number, 1)
    for place, item in enumerate(data if scale else []):
        image: PackedImage = opening({"image": item["image"]})["image"]
        dims = len(image.shape) - 1
        spacing = spacing_of(image, dims)
        cascades = list(unseen(item["image"])) if unseen else []
        for index, (cascade, turn) in enumerate(product(cascades or [network], range(turns))):
            file = folder / f"{Path(image.path).stem}_scale_{scale}_{index}.json"
            if file.exists():
                continue
            drawn, scan = 1000 * (seed + 1) + number * place + turn, None
            if pairing:
                pairing.set_random_state(seed=drawn)
                scan = pairing.acquisition(spacing, torch.Generator().manual_seed(drawn))
                margin = kernel_pair_reach(dims)
                bounds = [(-extra, size + extra) for extra, size in zip(margin, image.shape[1:], strict=True)]
                source = scan.pair(image.window(bounds)[0], spacing, drawn, [-extra for extra in margin])[0][None]
            else:
                source = image[0, ...][None]
            shown = windowing({"image": source, "label": source})["image"].as_subclass(Tensor)
            made = inferer(MetaTensor(shown[None], affine=image.affine), cascade.eval())
            with atomic(file.with_suffix(".nii")) as part:
                nibabel.Nifti1Image(made[0, 0].cpu().numpy().astype(np.float32), np.eye(4)).to_filename(part)
            with atomic(file) as part:
                part.write_text(json.dumps({"seed": drawn, "scan": asdict(scan) if scan else None}))
    network.train()
