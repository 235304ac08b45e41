"""Run the previous scales on simulated scans, so that a scale trains on previous scales with their errors.

The noise of a simulated scan is a function of seed and position (`bundle.scanner`), so a patch that is cut later
belongs to the same scan that the previous scales translated.
"""

from __future__ import annotations

import hashlib
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
from bundle.training.data.dose_pairs import DoseScan, RandDosePaird
from bundle.training.data.noise import FIELDS
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.simulated_pairs import RandKernelPaird, SimulatedScan, kernel_pair_reach
from bundle.training.weights import prefix_of
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

#: Keys of the images that a scan is simulated from.
SCANNED = ("image", *FIELDS)


@dataclass(frozen=True)
class Generated:
    """A simulated scan of an image and the result of the previous scale, on that scale's grid.

    Args:
        acquisition: the simulated scan; null if the previous scale translated the image itself.
        seed: seed of the noise.
        previous: result of the previous scale.
        part: first slice and number of slices, if a single slice was used as the image; null for the whole volume.
    """

    acquisition: SimulatedScan | DoseScan | None
    seed: int
    previous: PackedImage
    part: tuple[int, int] | None = None


class RandOneSliced(Randomizable, MapTransform):
    """Randomly replace a volume by one of its slices, because not every input in practice is a volume.

    The slice is the mean of one or several slices of the volume. As in inference, it is repeated beyond its borders.

    Args:
        keys: the volume, a `PackedImage`, and its noise. If the previous scale was made from a slice, that slice is
            taken.
        prob: fraction of the patches.
        most: largest number of slices to average.
    """

    def __init__(self, keys: KeysCollection, prob: float, most: int = 3) -> None:
        MapTransform.__init__(self, keys)
        self.prob, self.most = prob, most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each volume by the same slice."""
        out = dict(data)
        if "generated" in out:
            part = out["generated"].part
        else:
            part = self.draw(out[self.keys[0]]) if self.R.rand() < self.prob else None
        if part:
            out |= {key: out[key].slice(*part) for key in self.key_iterator(out)}
        return out

    def draw(self, image: PackedImage) -> tuple[int, int]:
        """Draw the first slice and the number of slices."""
        number = int(self.R.randint(1, self.most + 1))
        return int(self.R.randint(image.shape[3] - number + 1)), number


class RandGeneratedd(Randomizable, MapTransform):
    """Randomly choose a simulated scan that the previous scale has translated, and add it as ``generated``.

    Args:
        keys: the image, a `PackedImage`.
        folder: folder that `generate` has written to; images without results are left as they are.
        scale: the scale to train.
        prob: fraction of the patches.
    """

    def __init__(self, keys: KeysCollection, folder: str | Path, scale: int, prob: float) -> None:
        MapTransform.__init__(self, keys)
        self.folder, self.scale, self.prob = Path(folder), scale, prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Choose a scan."""
        out = dict(data)
        for key in self.key_iterator(out):
            wanted = self.R.rand() < self.prob
            stem = Path(out[key].path).stem
            files = sorted(self.folder.glob(f"{stem}_scale_{self.scale}_*.json")) if wanted and self.scale else []
            if files:
                file = files[self.R.randint(len(files))]
                facts = json.loads(file.read_text(encoding="utf-8"))
                scan = restored(facts["scan"]) if facts["scan"] else None
                part = tuple(facts["part"]) if facts.get("part") else None
                out["generated"] = Generated(scan, facts["seed"], PackedImage(file.with_suffix(".nii")), part)
        return out


def restored(facts: Mapping[str, Any]) -> SimulatedScan | DoseScan:
    """Restore an acquisition from the dictionary made by `dataclasses.asdict`."""
    kernels = {
        name: Kernel(**facts[name]) if facts[name] else None for name in ("kernel", "found", "anatomy") if name in facts
    }
    return (DoseScan if "ratio" in facts else SimulatedScan)(**{**facts, **kernels})


def generate(
    data: Sequence[Mapping[str, str]],
    opening: Callable[[Mapping[str, str]], dict],
    pairing: RandKernelPaird | RandDosePaird | None,
    windowing: Callable[[dict], dict],
    inferer: Callable[..., torch.Tensor],
    network: torch.nn.Module,
    folder: str | Path,
    scale: int,
    number: int,
    seed: int = 0,
    unseen: Callable[[str], Iterable[torch.nn.Module]] | None = None,
    one_slice: RandOneSliced | None = None,
) -> None:
    """Simulate scans of each image and translate them by the previous scales.

    Existing results are kept if they were made by the same weights and seed.

    Args:
        data: training images.
        opening: opens an image as a `PackedImage` under ``image``.
        pairing: draws the scans; null: the previous scales translate the images themselves, once.
        windowing: maps the image's units to the network's, under ``image`` and ``label``.
        inferer: a `bundle.cascade.CascadeInferer` for the previous scales.
        network: the cascade, with these scales trained.
        folder: folder to write to.
        scale: the scale to train; for 0 there is nothing to do.
        number: number of scans per image and cascade.
        seed: seed of the scans.
        unseen: returns the cascades for an image's path; if there are any, they are used instead of ``network``
            (`bundle.training.CrossFitting`).
        one_slice: takes one slice of the volume for every other scan; null: all scans use the whole image.
    """
    folder = Path(folder)
    turns = number if pairing else min(number, 1)
    for place, item in enumerate(data if scale else []):
        opened = opening({"image": item["image"]})
        whole: PackedImage = opened["image"]
        dims = len(whole.shape) - 1
        cascades = (list(unseen(item["image"])) if unseen else []) or [network]
        makers = [
            (cascade, {"weights": _hash(cascade, scale), "seed": seed, "paired": bool(pairing)}) for cascade in cascades
        ]
        for index, ((cascade, made_by), turn) in enumerate(product(makers, range(turns))):
            file = folder / f"{Path(whole.path).stem}_scale_{scale}_{index}.json"
            if _is_made_by(file, made_by):
                continue
            drawn, scan, piece = 1000 * (seed + 1) + number * place + turn, None, None
            if one_slice and turn % 2:
                one_slice.set_random_state(seed=drawn)
                piece = one_slice.draw(whole)
            parts = {key: each.slice(*piece) if piece else each for key, each in opened.items() if key in SCANNED}
            image = parts["image"]
            spacing = spacing_of(image, dims)
            if pairing:
                pairing.set_random_state(seed=drawn)
                margin = kernel_pair_reach(dims)
                bounds = [(-extra, size + extra) for extra, size in zip(margin, image.shape[1:], strict=True)]
                windows = {key: each.window(bounds)[0] for key, each in parts.items()}
                scan = pairing.acquisition(spacing, torch.Generator().manual_seed(drawn))
                noise = [windows[field] for field in FIELDS if field in windows]
                if isinstance(scan, DoseScan):
                    source = scan.pair(windows["image"], spacing, noise)[0][None]
                else:
                    source = scan.pair(windows["image"], spacing, drawn, [-extra for extra in margin], noise)[0][None]
            else:
                source = image[0, ...][None]
            shown = windowing({"image": source, "label": source})["image"].as_subclass(Tensor)
            made = inferer(MetaTensor(shown[None], affine=image.affine), cascade.eval())
            with atomic(file.with_suffix(".nii")) as part:
                nibabel.Nifti1Image(made[0, 0].cpu().numpy().astype(np.float32), np.eye(4)).to_filename(part)
            with atomic(file) as part:
                told = {"seed": drawn, "scan": asdict(scan) if scan else None, "part": piece, "made_by": made_by}
                part.write_text(json.dumps(told), encoding="utf-8")
    network.train()


def _hash(cascade: torch.nn.Module, scales: int) -> str:
    """Return a hash of the weights of the first scales of a cascade."""
    digest = hashlib.sha256()
    for name, value in cascade.state_dict().items():
        if name.startswith(tuple(map(prefix_of, range(scales)))):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _is_made_by(file: Path, made_by: Mapping[str, Any]) -> bool:
    """Return whether a result exists and was made by these weights and settings."""
    return file.exists() and json.loads(file.read_text(encoding="utf-8")).get("made_by") == made_by
