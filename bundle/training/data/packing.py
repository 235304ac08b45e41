"""Pack images for training: write each one once, oriented and uncompressed, so that windows are read quickly.

``python -m bundle.training.data.packing FOLDER DESTINATION --limit 50MB`` packs a data set into a limited size.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle.geometry import coarser_affine, pool, pyramid, spacing_of
from bundle.images import depth_of, files_of, find_images, stem, to_grey
from bundle.images.own_files import check_own
from bundle.images.provenance import NAME
from bundle.images.readback import check_nifti, least_bytes
from bundle.images.reader import load_image
from bundle.runtime import parse_bytes
from bundle.runtime.commands import run_command
from bundle.runtime.files import atomic
from bundle.runtime.hashes import fingerprint
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.windows import AIR
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, MapTransform, Orientation
from torch import Tensor

CONFIGS = Path(__file__).parents[3] / "configs"


class OpenPackedd(MapTransform):
    """Open images for reading by windows. An image is packed when it is first opened.

    Args:
        keys: paths of images that `bundle.images.find_images` finds.
        folder: folder of the packed images.
        steps: number of pyramid steps by which they are pooled.
        limits: range that they are clipped to before pooling, like the cascade's input; null for none.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        folder: str | Path,
        steps: int = 0,
        limits: tuple[float, float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.folder, self.steps, self.limits = Path(folder), steps, limits

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by a `PackedImage`."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = PackedImage(pack(out[key], self.folder, self.steps, self.limits), out[key])
        return out


def find_pairs(
    images: str | Path, labels: str | Path | None = None, held_out: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Find the training images, each with its target if there is a folder of targets.

    Args:
        images: a path, as for `bundle.images.find_images`.
        labels: folder of the targets, with the same names and grids; null for images alone.
        held_out: names of images to leave out, see `leave_out`.

    Raises:
        FileNotFoundError: If there is no image, an image has no target, or a name in ``held_out`` is that of no image.
    """
    pairs = []
    for path in leave_out(find_images(images), held_out):
        pair = {"image": path}
        if labels:
            pair["label"] = str(Path(labels) / Path(path).name)
            if not Path(pair["label"]).exists():
                raise FileNotFoundError(f"image {path!r} has no target: there is no {pair['label']!r}; give it one.")
        pairs.append(pair)
    return pairs


def leave_out(paths: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """Return the paths without those that are held out, in training and evaluation alike.

    Args:
        paths: paths of images.
        held_out: names of images, with or without suffix. Those in the bundle's own training configs may be missing.

    Raises:
        FileNotFoundError: If another name is that of no image.
        TypeError: If ``held_out`` is a text, not a list.
    """
    if isinstance(held_out, str):
        raise TypeError(f"held_out {held_out!r} must be a list of names, such as ['{held_out}'].")
    known = {name for path in paths for name in (Path(path).name, stem(path))}
    if missing := [name for name in held_out if name not in known | _held_out_by_configs()]:
        raise FileNotFoundError(
            f"held_out holds {missing[0]!r}, but there is no such image beside {paths[0]!r}; give names of images, "
            "with or without suffix."
        )
    return [path for path in paths if not {Path(path).name, stem(path)} & set(held_out)]


def _held_out_by_configs() -> set[str]:
    """Return the names that the bundle's training configs hold out, which are those of its own training images."""
    configs = (CONFIGS / name for name in ("train.json", "xray_2d_train.json"))
    texts = [json.loads(path.read_text(encoding="utf-8")) for path in configs if path.exists()]
    return {name for text in texts for name in text.get("held_out", ())}


def read(path: str | Path) -> Tensor:
    """Read an image, `(1, *spatial)`, with its affine; volumes are in RAS, so that the first two axes span a slice.

    X-rays, which have a bit depth, are read as grey values, 0 to 255 (`bundle.images.bit_depth`).

    Raises:
        ValueError: If the image has more than one channel.
    """
    image = EnsureChannelFirst()(load_image(path))
    bits = depth_of(image)
    image = image if bits is None else to_grey(image, bits)
    if image.shape[0] != 1:
        raise ValueError(f"image {str(path)!r} has {image.shape[0]} channels; the cascade takes one: choose it first.")
    return Orientation("RAS", labels=None)(image) if image.ndim == 4 else image


def pack(path: str | Path, folder: str | Path, steps: int = 0, limits: tuple[float, float] | None = None) -> Path:
    """Write an image as an uncompressed ``.nii``, integers with 16 bits. An existing file is kept.

    Args:
        path: the image. The packed file's name depends on its path, and on size and modification time of its files, so
            that a changed image is packed again.
        folder: folder to write to, created if missing; pooled images go into a subfolder.
        steps: number of pyramid steps by which the image is pooled, for training a coarser scale.
        limits: range that it is clipped to before pooling; null for none.

    Raises:
        FileNotFoundError: If the image does not exist.
        ValueError: If it has more than one channel.
    """
    path, folder = Path(path), Path(folder) / (f"pooled_{steps}" if steps else "")
    if not path.exists():
        raise FileNotFoundError(f"image {str(path)!r} does not exist.")
    packed = folder / f"{stem(path)}_{fingerprint(path, files_of(path))[:10]}.nii"
    if not packed.exists():
        image = read(path)
        write_packed(_pooled(image, steps, limits) if steps else image, packed)
    return packed


def _pooled(image: Tensor, steps: int, limits: tuple[float, float] | None) -> Tensor:
    """Clip an image, `(1, *spatial)`, and pool it by a number of pyramid steps."""
    dims = image.ndim - 1
    out = torch.as_tensor(image).as_subclass(Tensor).float()[None]
    affine = getattr(image, "affine", torch.eye(dims + 1, dtype=torch.float64))
    out = out.clamp(*limits) if limits else out
    for factor in pyramid(spacing_of(image, dims), steps):
        out, affine = pool(out, factor), coarser_affine(affine, factor)
    return MetaTensor(out[0], affine=affine)


def write_packed(image: Tensor, path: Path) -> None:
    """Write voxels and affine atomically: the file appears only when it is complete."""
    voxels = torch.as_tensor(image)[0].as_subclass(Tensor).numpy()
    limits = np.iinfo(np.int16)
    if np.array_equal(voxels, np.clip(np.round(voxels), limits.min, limits.max)):
        voxels = voxels.astype(np.int16)
    affine = np.asarray(image.affine) if hasattr(image, "affine") else np.eye(4)
    needed = least_bytes(voxels.shape, voxels.dtype, path.suffix)
    with atomic(path, needed, lambda part: check_nifti(part, voxels.shape, voxels.dtype)) as part:
        packed = nibabel.Nifti1Image(voxels, affine)
        packed.header["descrip"] = NAME.encode()
        packed.to_filename(part)


def shrink(folder: str | Path, destination: str | Path, limit: str | int = "50MB", air: float = AIR) -> None:
    """Pack a folder of images into compressed files of a limited total size by cropping and leaving out slices.

    Images are cropped to the body. Each keeps the same fraction of its slices, centred: the largest of a few fractions
    with which all images fit.

    Args:
        folder: folder of images.
        destination: folder to write to, created if missing.
        limit: total size in bytes, a number or a string such as ``50MB``.
        air: largest value of air; higher values are body.

    Raises:
        FileExistsError: If a file would be replaced that this bundle has not made.
        ValueError: If not even a tenth of the slices fits, or the destination is the folder itself.
    """
    allowed, target = parse_bytes(limit), Path(destination)
    if target.resolve() == Path(folder).resolve():
        raise ValueError(f"destination {str(target)!r} is the folder of the images; give another one.")
    paths = find_images(folder, key="folder")
    for path in paths:
        check_own(target / f"{stem(path)}.nii.gz", "packed image", way_out="give another folder")
    for share in (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.1):
        files = []
        for path in paths:
            image = read(path)
            depth = image.shape[-1]
            keep = max(1, round(share * depth)) if image.ndim == 4 else depth
            image = image[..., (depth - keep) // 2 : (depth - keep) // 2 + keep]
            inside = (torch.as_tensor(image) > air).nonzero()
            if len(inside):
                low, high = inside.amin(0).tolist(), inside.amax(0).tolist()
                image = image[(slice(None), *(slice(a, b + 1) for a, b in zip(low[1:3], high[1:3], strict=True)))]
            files.append(target / f"{stem(path)}.nii.gz")
            write_packed(image, files[-1])
        if (total := sum(file.stat().st_size for file in files)) <= allowed:
            print(f"packed: {len(files)} images, {share:.0%} of their slices, {total / 1e6:.1f} MB in {target}")
            return
        for file in files:
            file.unlink()
    raise ValueError(f"limit {limit} is less than a tenth of the slices of {folder} needs; give more, or fewer images.")


if __name__ == "__main__":
    run_command(shrink)
