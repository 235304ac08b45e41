"""Test what `check_input` refuses on real CTs and their crops, phantoms, and images that are not CTs in HU.

    python -m benchmarks.check_input DATA [--more FOLDER] [--crop_count 700]

DATA holds ``ct``, ``kernels``, ``lowdose``, ``brain`` and ``cxr``; ``--more`` adds a folder of further CTs. Crops are
drawn at random around voxels within the body, equally often from each CT. Unsuitable images are made of the real ones
in memory. The tables show how many images are refused and by which rule, the warnings for CTs, and the scores of the
CTs and crops that are closest to a limit.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from skimage.measure import block_reduce

from bundle.examples.phantom import ThoraxPhantom
from bundle.images import ImageError, Opened, find_images, held, open_image
from bundle.runtime.commands import run_command
from bundle.transforms import CheckInput
from bundle.transforms.check_input import FLAT, LOUD, PADDED, WIDE
from bundle.transforms.input_scores import InputScores, input_scores
from bundle.transforms.lung_mask import inside_body

SIZES = ((32, 32, 8), (64, 64, 1), (128, 128, 1), (256, 256, 1), (64, 64, 16), (128, 128, 32), (512, 512, 1))
PHANTOMS = (
    {"shape": (160, 128, 96), "noise": 60},
    {"shape": (160, 128, 96)},
    {"shape": (64, 64, 1)},
    {"shape": (512, 512, 1), "noise": 30},
    {"shape": (256, 256, 32), "noise": 100, "seed": 5},
    {"shape": (56, 48, 24), "spacing": (1.5, 1.5, 4.0), "noise": 60},
    {"shape": (64, 60, 24), "spacing": (1.5, 1.5, 2.5)},
    {"shape": (40, 32, 8), "spacing": (8.0, 8.0, 20.0), "noise": 60},
    {"shape": (24, 20, 16), "seed": 2},
)
SLICES = 16  # slices of an unsuitable image
#: Rules of refusals and warnings, and the words that identify them.
KINDS = {
    "modality": "modality",
    "constant": "in all its voxels",
    "narrow": "only; those of a CT",
    "outside": "below -1400 or above",
    "not negative": "up, median",
    "masked": "is exactly",
    "lung cut out": "of the others are",
    "empty": "nothing denser",
    "noise": "is noise",
    "not finite": "no finite numbers",
    "iterative": "iterative",
    "not axial": "in the axial plane",
    "spacing": "check the header",
    "noisy": "has noise",
    "soft": "soft already",
    "cut off": "is cut off",
    "metal": "shows metal",
    "no thorax": "no thorax",
}

#: Prefixes of files that show no lung.
NO_CHEST = ("L067", "headphantom")

Made = Callable[[np.ndarray, np.random.Generator], np.ndarray]
#: The rule that refuses an image, or an empty string, and the rules that warn of it.
Answer = tuple[str, list[str]]


def answer(image: Opened, soft: bool = True) -> Answer:
    """Return the refusal and warnings for an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "", [_kind(text) for text in CheckInput(soft=soft)(image)]
        except ImageError as error:
            return _kind(str(error)), []


def _kind(text: str) -> str:
    return next(kind for kind, words in KINDS.items() if words in text)


def middle(image: Opened) -> np.ndarray:
    """Return up to 16 middle slices of a CT, `(x, y, z)`, float32."""
    start = max(image.shape[2] - SLICES, 0) // 2
    x, y, _ = image.shape
    part = image[slice(0, x), slice(0, y), slice(start, start + SLICES)]
    return np.maximum(part.astype(np.float32), -1024)


def body(voxels: np.ndarray) -> np.ndarray:
    """Return a boolean mask of the body with the lungs, `(x, y, z)`, in blocks of 4 x 4 pixels."""
    coarse = inside_body(block_reduce(voxels, (4, 4, 1), np.mean))
    whole = coarse.repeat(4, 0).repeat(4, 1)
    return np.asarray(whole[: voxels.shape[0], : voxels.shape[1]])


def masked(voxels: np.ndarray, _: np.random.Generator, value: float = 0.0, lung: bool = False) -> np.ndarray:
    """Return a CT with everything but the body, or but the lung, set to a value."""
    kept = body(voxels)
    if lung:
        kept &= voxels < -500
    return np.where(kept, voxels, np.float32(value))


def half(voxels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return a CT whose upper half is 0."""
    out = voxels.copy()
    out[:, : out.shape[1] // 2] = 0
    return out


def windowed(voxels: np.ndarray, _: np.random.Generator, scale: float = 255.0, low: float = 0.0) -> np.ndarray:
    """Map -1000..200 HU of a CT to 0..scale and add ``low``; large scales are rounded to integers."""
    out = np.interp(voxels, (-1000, 200), (0, scale)).astype(np.float32) + np.float32(low)
    return np.rint(out) if scale > 10 else out


def stored(voxels: np.ndarray, _: np.random.Generator, padded: bool = False) -> np.ndarray:
    """Return stored pixel values as in a scanner's files, HU + 1024; with corners of -2000 if padded."""
    out = voxels + 1024
    if padded:
        x, y = (np.linspace(-1, 1, size) for size in voxels.shape[:2])
        out[np.hypot(*np.meshgrid(x, y, indexing="ij")) > 1] = -2000
    return np.asarray(out)


def labels(voxels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return a label map of air, lung, fat, tissue and bone, times 20."""
    return np.digitize(voxels, (-950, -500, -30, 200)).astype(np.float32) * 20


def zscores(voxels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return a CT with mean 0 and standard deviation 1."""
    return np.asarray((voxels - voxels.mean()) / voxels.std())


def hole(voxels: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return a CT with NaN in a corner."""
    out = voxels.copy()
    out[0, 0] = np.nan
    return out


#: Functions that make unsuitable images from the middle of a CT in HU.
UNFIT: dict[str, Made] = {
    "8 bits, 0 to 255": windowed,
    "scaled to 0..1": partial(windowed, scale=1.0),
    "scaled to -1..1": partial(windowed, scale=2.0, low=-1.0),
    "16 bits as of PNG, 0 to 65535": partial(windowed, scale=65535.0),
    "mean 0, deviation 1": zscores,
    "stored values, HU + 1024": stored,
    "the same, padded by -2000": partial(stored, padded=True),
    "in units of 1000 HU": lambda voxels, _: voxels / 1000,
    "ten times HU": lambda voxels, _: voxels * 10,
    "body alone, 0 around it": masked,
    "lung alone, 0 around it": partial(masked, lung=True),
    "lung alone, -1000 around it": partial(masked, lung=True, value=-1000.0),
    "upper half 0": half,
    "map of labels": labels,
    "constant 0": lambda voxels, _: np.zeros_like(voxels),
    "constant -1024": lambda voxels, _: np.full_like(voxels, -1024),
    "air alone, noise of 20 HU": lambda voxels, rng: np.rint(rng.normal(-1000, 20, voxels.shape)).clip(-1024),
    "white noise of 300 HU": lambda voxels, rng: rng.normal(0, 300, voxels.shape),
    "uniform noise, -1000 to 1000": lambda voxels, rng: rng.uniform(-1000, 1000, voxels.shape),
    "colours, three slices": lambda voxels, rng: np.stack([windowed(voxels, rng)[..., 0]] * 3, -1),
    "NaN at a corner": hole,
}


#: Scores of CTs, the least favourable first.
NEAREST: dict[str, Callable[[Sequence[InputScores]], list[float]]] = {
    "span, HU": lambda found: sorted(s.high - s.low for s in found),
    "outside, %": lambda found: sorted((s.outside for s in found), reverse=True),
    "below 0, of a spread above 120 HU": lambda found: sorted(s.depth for s in found if s.spread > FLAT),
    "exactly 0, %": lambda found: sorted((s.zeros for s in found), reverse=True),
    "one value, %": lambda found: sorted((s.equal for s in found), reverse=True),
    "lung left, %": lambda found: sorted((s.lung_left for s in found if s.padded > PADDED), reverse=True),
    "densest block, HU": lambda found: sorted(s.tissue for s in found),
    "structure": lambda found: sorted(s.structure for s in found if s.deviation > LOUD or s.side > WIDE),
}


def crops(images: Sequence[Opened], count: int, rng: np.random.Generator) -> Iterator[tuple[str, Opened]]:
    """Yield crops around random voxels in the body of random images, each with its maximum size as text."""
    while count:
        image, most = images[int(rng.integers(len(images)))], SIZES[int(rng.integers(len(SIZES)))]
        x, y, depth = image.shape
        size = [min(n, side) for n, side in zip(most, image.shape, strict=True)]
        z = int(rng.integers(depth - size[2] + 1))
        slab = image.part((slice(0, x), slice(0, y), slice(z, z + size[2]))).loaded()
        middle_slice = slab[slice(0, x), slice(0, y), slice(size[2] // 2, size[2] // 2 + 1)]
        inside = np.argwhere(body(middle_slice)[..., 0])
        if len(inside):
            at = (*inside[rng.integers(len(inside))], 0)
            starts = [int(np.clip(c - n // 2, 0, s - n)) for c, n, s in zip(at, size, slab.shape, strict=True)]
            window = tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))
            yield " x ".join(map(str, most)), slab.part(window)
            count -= 1


def stacked(files: Sequence[Path], slices: int = 8) -> list[Opened]:
    """Stack X-rays of equal size into volumes of eight slices of 1 mm."""
    groups = [files[start : start + slices] for start in range(0, len(files) - slices + 1, slices)]
    volumes = [np.stack([open_image(file).whole() for file in group], -1) for group in groups]
    return [held(volume, np.eye(4), group[0]) for volume, group in zip(volumes, groups, strict=True)]


def main(data: str, more: str = "", crop_count: int = 700, seed: int = 0) -> None:
    """Print the three tables.

    Args:
        data: folder of real images.
        more: folder of further CTs; empty for none.
        crop_count: number of crops of CTs; of MR and X-rays a tenth each.
        seed: seed of crops and noise.
    """
    rng, root = np.random.default_rng(seed), Path(data)
    files = [file for part in ("ct", "kernels", "lowdose") for file in find_images(root / part)]
    scans = [open_image(file) for file in [*files, *(find_images(more) if more else [])]]
    print("| real | images | refused | by | warned of |\n|---|---|---|---|---|")
    real: dict[str, list[Answer]] = {"whole CTs": [answer(scan) for scan in scans]}
    phantoms = [ThoraxPhantom(**options) for options in PHANTOMS]
    real["phantoms"] = [answer(held(phantom[...], phantom.affine, "phantom")) for phantom in phantoms]
    of_size: dict[str, list[Answer]] = {" x ".join(map(str, size)): [] for size in SIZES}
    scores: list[InputScores] = []
    for size, crop in crops(scans, crop_count, rng):
        of_size[size].append(answer(crop))
        scores.append(input_scores(crop))
    real |= {f"crops of at most {size}": row for size, row in of_size.items()}
    real["all crops"] = [found for row in of_size.values() for found in row]
    for title, row in real.items():
        print(f"| {title} | {len(row)} | {refused(row)} | {counted(rule for rule, _ in row)} | {warned(row)} |")
    print("\n| unfit | images | refused | by |\n|---|---|---|---|", flush=True)
    for title, row in unfit(scans, root, crop_count // 10, rng):
        print(f"| {title} | {len(row)} | {refused(row)} | {counted(rule for rule, _ in row)} |", flush=True)
    print("\n| score, the three nearest to the limit | whole CTs | crops |\n|---|---|---|")
    of_scans = [input_scores(scan) for scan in scans]
    for title, nearest in NEAREST.items():
        cells = [", ".join(f"{value:.2g}" for value in nearest(found)[:3]) for found in (of_scans, scores)]
        print(f"| {title} | {' | '.join(cells)} |")


def unfit(
    scans: Sequence[Opened], root: Path, crop_count: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[Answer]]]:
    """Yield each kind of unsuitable image, and the refusals and warnings for its images."""
    several = [scan for scan in scans if scan.path.parent.name != "lowdose"]
    chests = [scan for scan in several if not scan.path.name.startswith(NO_CHEST)]
    for title, make in UNFIT.items():
        chosen = chests if title.startswith("lung alone") else several
        made = (np.asarray(make(middle(scan), rng), np.float32) for scan in chosen)
        yield title, [answer(held(voxels, scan.affine, scan.path)) for voxels, scan in zip(made, chosen, strict=True)]
    brains = [open_image(file) for file in find_images(root / "brain")]
    xrays = stacked(sorted((root / "cxr").glob("hannover*")))
    for weight in ("T1", "T2"):
        yield f"MR of the brain, {weight}", [answer(scan) for scan in brains if weight in scan.path.name]
    yield "chest X-rays, eight stacked", [answer(image) for image in xrays]
    for title, images in {"MR": brains, "X-rays": xrays}.items():
        yield f"crops of {title}, all sizes", [answer(crop) for _, crop in crops(images, crop_count, rng)]


def refused(row: Sequence[Answer]) -> str:
    """Return how many images are refused, and their fraction."""
    count = sum(bool(rule) for rule, _ in row)
    return f"{count} ({100 * count / max(len(row), 1):.1f} %)"


def warned(row: Sequence[Answer]) -> str:
    """Return the warnings and how often each occurs."""
    return counted(rule for _, told in row for rule in told)


def counted(rules: Iterable[str]) -> str:
    """Return how often each rule applies, the most frequent first."""
    return ", ".join(f"{rule} {n}" for rule, n in Counter(filter(None, rules)).most_common())


if __name__ == "__main__":
    run_command(main)
