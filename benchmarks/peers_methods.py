"""Methods to run one network over a volume for `benchmarks.peers`: ours, MONAI's, nnU-Net's and KonfAI's.

All get the same conditions and the finest generator of the shipped cascade, as the class `Finest`: padded for methods
that cut windows, so that a window keeps its size; unpadded for ours, which reads the network's reach around its tiles.
Each returns its result and where its windows meet.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from benchmarks.speed import SPACING, shipped, without_halo
from bundle.cascade import Cascade, CascadeInferer
from bundle.cascade.generators import split_along
from bundle.cascade.scratch import ScratchImage, create_array, write_tile
from bundle.cascade.tile_plan import TilePlan
from bundle.evaluation.metrics import faces_of, grid
from bundle.geometry import Tile, crop, region, repeat_border
from bundle.runtime import prefetch, trim_malloc

Faces = list[list[int]]
#: Files of a volume: conditions `(3, x, y, z)`, the same for KonfAI and as a group of zarr arrays, and the result.
CONDITIONS, DATASET, SCRATCH, RESULT = "conditions.npy", "dataset", "scratch", "result.npy"


@dataclass(frozen=True)
class Settings:
    """Settings that all methods of a run share.

    Args:
        window: side of the peers' windows in voxels.
        budget: `memory_budget` of ours, and memory budget of KonfAI.
        half: whether the network computes in bfloat16.
        device: device to run on.
    """

    window: int
    budget: str
    half: bool
    device: str


class Finest(nn.Module):
    """The finest generator of a cascade on given conditions, with the image that it adds to.

    Args:
        cascade: the cascade.
        padded: whether it pads with zeros and keeps the grid; otherwise it returns ``reach`` voxels less on each side.
        half: whether the generator computes in bfloat16; the sum stays in float32.
        turned: whether the spatial axes are reversed, `(batch, channels, z, y, x)`.
    """

    def __init__(self, cascade: Cascade, padded: bool, half: bool = False, turned: bool = False) -> None:
        super().__init__()
        network = cascade.fine[-1]
        self.network = without_halo(network) if padded else network
        self.base = 1 if cascade.adds_to_image[-1] else -1
        self.reach = [a - b for a, b in zip(cascade.reach[-1], cascade.margin, strict=True)]
        self.margin = [0] * len(self.reach) if padded else self.reach
        self.axis, self.voxels = cascade.independent_axis[-1], cascade.slab_voxels
        self.in_half, self.turned = half, turned

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, 3, *spatial)`, sketch, image and previous scale, to `(batch, 1, *spatial - 2 * margin)`."""
        if self.turned:
            return self.compute(x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """Compute `(batch, 3, x, y, z)` block by block of slices, as the cascade does."""
        parts = split_along(list(x.split(1, 1)), self.axis, self.voxels)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.in_half):
            out = torch.cat([self.network(torch.cat(part, 1)) for part in parts], self.axis)
        return crop(x.narrow(1, self.base % x.shape[1], 1), self.margin) + out


def finest(settings: Settings, padded: bool) -> Finest:
    """Return the network of a run on its device."""
    return Finest(shipped()[0], padded, settings.half).eval().to(settings.device)


def plan(cascade: Cascade, shape: Sequence[int], settings: Settings, on_disk: bool) -> TilePlan:
    """Return the tiles that the cascade's inferer uses for the finest scale, with the reach of the network alone."""
    inferer = CascadeInferer(memory_budget=settings.budget, progress=False, half=settings.half)
    tiles = inferer.plan(cascade.to(settings.device), shape, [SPACING] * 3, on_disk)[1][-1]
    return replace(tiles, halo=tuple(Finest(cascade, padded=False).reach))


def tile_faces(tiles: TilePlan) -> Faces:
    """Return where tiles meet."""
    return [sorted({tile.write[axis].start for tile in tiles} - {0}) for axis in range(len(tiles.grid))]


def window_faces(slices: Iterable[Sequence[slice]], shape: Sequence[int]) -> Faces:
    """Return where windows, given by a slice per axis, begin and end inside a volume."""
    return faces_of([[(part.start, part.stop) for part in axis] for axis in zip(*slices, strict=True)], shape)


def run_tiles(network: Finest, sources: Sequence[Any], result: Any, tiles: TilePlan, threads: bool) -> Iterable[Tile]:
    """Compute a volume tile by tile, each read with the network's reach around it, as `(1, channels, *spatial)`."""
    device = next(network.parameters()).device

    def read(tile: Tile) -> Tensor:
        return repeat_border(torch.cat([source[region(tile.read)] for source in sources], 1), tile.pad)

    def compute(tile: Tile, inputs: Tensor) -> Tensor:
        return network(inputs.to(device))[region(tile.keep)]

    return prefetch(tiles, read, compute, partial(write_tile, result), threads)


@dataclass(frozen=True)
class Work:
    """A method that is built and ready to be measured.

    Args:
        load: reads what the method holds from the start; counts for the memory, not for the time.
        run: maps that to the result.
        faces: where windows meet.
        fetch: maps the result to `(x, y, z)`; not measured.
    """

    load: Callable[[], Any]
    run: Callable[[Any], Any]
    faces: Faces
    fetch: Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A method to run the network.

    Args:
        name: name in the table.
        words: its settings in words.
        build: function of folder, shape and settings that returns the `Work`; it does all setting up.
        needs: package that has to be installed.
        options: options of ``build``.
    """

    name: str
    words: str
    build: Callable[..., Work]
    needs: str = "monai"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether its package is installed."""
        return find_spec(self.needs) is not None


def loaded(folder: Path) -> Tensor:
    """Return the conditions of a volume, `(1, 3, *spatial)`."""
    return torch.from_numpy(np.load(folder / CONDITIONS))[None]


def array(result: Tensor) -> np.ndarray:
    """Convert a result, `(..., x, y, z)`, to an array `(x, y, z)`."""
    return result.reshape(result.shape[-3:]).float().cpu().numpy()


def ours(folder: Path, shape: Sequence[int], settings: Settings) -> Work:
    """Build our method: tiles that are each written once, with conditions in memory."""
    cascade, _ = shipped()
    tiles = plan(cascade, shape, settings, on_disk=False)
    network, threads = Finest(cascade, False, settings.half).eval(), settings.device != "cpu"

    def run(inputs: Tensor) -> Tensor:
        result = torch.empty((1, 1, *shape))
        for _ in run_tiles(network, [inputs], result, tiles, threads):
            pass
        return result

    return Work(partial(loaded, folder), run, tile_faces(tiles), array)


def ours_on_disk(folder: Path, shape: Sequence[int], settings: Settings) -> Work:
    """Build our method with arrays on disk."""
    cascade, _ = shipped()
    network, tiles = Finest(cascade, False, settings.half).eval(), plan(cascade, shape, settings, on_disk=True)

    def load() -> list[ScratchImage]:
        affine = torch.eye(4, dtype=torch.float64)
        return [ScratchImage(folder / SCRATCH, f"condition_{channel}", affine) for channel in range(3)]

    def run(sources: list[ScratchImage]) -> ScratchImage:
        create_array(folder / SCRATCH, RESULT, tiles.grid, tiles.chunks)
        result = sources[0].beside(RESULT)
        for _ in trim_malloc(run_tiles(network, sources, result, tiles, threads=True)):
            pass
        return result

    return Work(load, run, tile_faces(tiles), lambda result: array(result[region(tuple(map(slice, shape)))]))


def monai(
    folder: Path,
    shape: Sequence[int],
    settings: Settings,
    slices: int = 0,
    overlap: float = 0.25,
    mode: str = "constant",
    buffer_steps: int | None = None,
) -> Work:
    """Build MONAI's `SlidingWindowInferer`, with windows of ``slices`` whole slices, or with cubes."""
    network, sides = finest(settings, padded=True), window_of(shape, settings, slices)
    inferer = SlidingWindowInferer(
        sides,
        sw_batch_size=1 if slices else 4,
        overlap=overlap,
        mode=mode,
        sw_device=settings.device,
        device="cpu",
        buffer_steps=buffer_steps,
    )
    windows = [
        grid((size,), side, max(int(side * (1 - overlap)), 1) if side < size else side)[0]
        for size, side in zip(shape, sides, strict=True)
    ]
    return Work(partial(loaded, folder), lambda inputs: inferer(inputs, network), faces_of(windows, shape), array)


def window_of(shape: Sequence[int], settings: Settings, slices: int) -> list[int]:
    """Return the sides of a peer's window: a cube, or a number of whole slices."""
    if slices:
        return [*shape[:-1], min(slices, shape[-1])]
    return [min(settings.window, side) for side in shape]


def nnunet(
    folder: Path, shape: Sequence[int], settings: Settings, slices: int = 0, step: float = 0.5, gaussian: bool = True
) -> Work:
    """Build nnU-Net's predictor with this network instead of its own, one output channel, and without mirroring."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    network, sides = finest(settings, padded=True), window_of(shape, settings, slices)
    predictor = nnUNetPredictor(
        tile_step_size=step,
        use_gaussian=gaussian,
        use_mirroring=False,
        perform_everything_on_device=True,
        device=torch.device(settings.device),
        allow_tqdm=False,
    )
    configuration = {"patch_size": sides, "architecture": None}  # the network is provided
    plans = PlansManager({"label_manager": "LabelManager", "configurations": {"3d_fullres": configuration}})
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration("3d_fullres"),
        [network.state_dict()],
        {"labels": {"background": 0}},
        "nnUNetTrainer",
        None,
    )
    slicers = [slicer[1:] for slicer in predictor._internal_get_sliding_window_slicers(tuple(shape))]
    return Work(
        lambda: loaded(folder)[0], predictor.predict_logits_from_preprocessed_data, window_faces(slicers, shape), array
    )


def konfai_network(half: bool) -> Finest:
    """Return the network that KonfAI loads by name, with reversed axes."""
    return Finest(shipped()[0], padded=True, half=half, turned=True).eval()


def konfai(
    folder: Path,
    shape: Sequence[int],
    settings: Settings,
    slices: int = 0,
    overlap: str | tuple[int, ...] = "20%",
    combine: str | None = "Cosinus",
) -> Work:
    """Build KonfAI's predictor, from `.mha` to `.mha`, which it writes slab by slab as patches are completed."""
    import SimpleITK as sitk  # noqa: N813
    from konfai.api import predict
    from konfai.utils.utils import get_patch_slices_from_shape

    sides = window_of(shape, settings, slices)[::-1]
    spec = overlap if isinstance(overlap, str) else list(overlap)
    name = "konfai_network"
    output = {"name_class": "OutputDataset", "reduction": "Mean", "patch_combine": combine, "group": "PRED"}
    chains = ("before_reduction_transforms", "after_reduction_transforms", "final_transforms")
    inputs = {"transforms": None, "patch_transforms": None, "is_input": True}
    model = {"half": settings.half, "in_channels": 3, "dim": 3, "outputs_criterions": None, "ModelPatch": None}

    def configured(out: Path) -> dict[str, Any]:
        written = {**output, **dict.fromkeys(chains), "dataset_filename": f"{out}:mha", "same_as_group": "C:C"}
        return {
            "Predictor": {
                "Model": {"classpath": f"benchmarks.peers_methods:{name}", name: model},
                "Dataset": {
                    "groups_src": {"C": {"groups_dest": {"C": inputs}}},
                    "augmentations": None,
                    "Patch": {"patch_size": sides, "overlap": spec, "pad_value": 0, "extend_slice": 0},
                    "dataset_filenames": [f"{folder / DATASET}:mha"],
                    "memory_budget": settings.budget.replace("iB", "B"),
                    "batch_size": 1,
                    "num_workers": 0,  # worker processes would hide their memory
                },
                "outputs_dataset": {"Model": {"OutputDataset": written}},
                "train_name": "peers",
                "autocast": False,
                "combine": "Mean",
            }
        }

    weights = konfai_network(settings.half).state_dict()
    checkpoint = Path(tempfile.mkdtemp(dir=folder)) / "weights.pt"
    torch.save({"Model": {name: {f"Model.{key}": value for key, value in weights.items()}}}, checkpoint)
    os.environ["KONFAI_STREAM_WORTH_THRESHOLD"] = "0"  # slab by slab even if the result is small

    def run(_: None) -> Path:
        out = Path(tempfile.mkdtemp(dir=folder))
        predict(
            checkpoint,
            configured(out),
            gpu=None if settings.device == "cpu" else [0],
            quiet=True,
            overwrite=True,
            predictions_dir=out / "runs",
        )
        return next(out.rglob("PRED.mha"))

    def fetch(file: Path) -> np.ndarray:
        return np.ascontiguousarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).squeeze().transpose(2, 1, 0))

    cut = get_patch_slices_from_shape(sides, list(shape)[::-1], spec)
    faces = window_faces([part[::-1] for part in cut], shape)
    if combine == "Trim" and not isinstance(overlap, str):  # patches meet in the middle of their overlap
        starts = [sorted({part[axis].start for part in cut} - {0}) for axis in range(3)]
        faces = [[start + shared // 2 for start in axis] for axis, shared in zip(starts, overlap, strict=True)][::-1]
    return Work(lambda: None, run, faces, fetch)
