"""This bundle as a method, run by its own inference config, and the paper's baselines on the same path.

The baselines differ from ours only in their weights or in their inferer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from bundle.cascade import CascadeInferer
from bundle.evaluation.methods.method import Method
from bundle.evaluation.metrics import grid
from bundle.geometry import cover, extend, pyramid, region, shapes, spacing_of, upsample
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor


@dataclass(frozen=True)
class Translation:
    """The settings of inference.

    Args:
        config: the inference config, or several; later ones are overlays.
        bundle_root: folder of the bundle.
        device: of the networks.
        weights: the checkpoint; null for the config's.
        tile_size: voxels a side of the tiles; null for the memory budget's.
        keys: other keys of the config, and their values.
    """

    config: str | Sequence[str]
    bundle_root: str = "."
    device: torch.device | str = "cpu"
    weights: str | None = None
    tile_size: int | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    def parser(self) -> ConfigParser:
        """Return the config with its keys set; nothing is built yet."""
        parser = ConfigParser()
        parser.read_config([self.config] if isinstance(self.config, str) else list(self.config))
        keys = {"bundle_root": self.bundle_root, "device": self.device, "tile_size": self.tile_size}
        parser.update({**keys, **({"weights": self.weights} if self.weights else {}), **self.keys})
        if isinstance(parser["inferer"], dict):
            parser["inferer#inferer#progress"] = False
        return parser


@dataclass(frozen=True)
class Ours(Method):
    """The cascade as inference runs it.

    Args:
        translation: the settings of inference.
    """

    translation: Translation
    title: ClassVar[str] = "**ours**"

    def modify(self, parser: ConfigParser) -> None:
        """Apply the method's changes to the config."""

    def missing(self) -> str:
        """Return which weights are missing."""
        path = self.translation.parser().get_parsed_content("weights")
        return "" if Path(path).exists() else f"its weights {str(path)!r} do not exist"

    def job(self, source: Path, destination: Path) -> Callable[[], None]:
        """Build the networks; the returned function translates one file as ``run inference`` does."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=destination.parent, prefix=".part_")
        parser = self.translation.parser()
        parser.update({"dataset_dir": str(source), "output_dir": folder.name, "output_ext": ".nii"})
        parser["provenance"] = False
        self.modify(parser)
        parser.get_parsed_content("initialize")
        evaluator = parser.get_parsed_content("evaluator")

        def work() -> None:
            with folder, redirect_stdout(StringIO()):  # the printed path is temporary
                evaluator.run()
                (result,) = Path(folder.name).iterdir()
                result.replace(destination)

        return work

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the tiles."""
        side = self.translation.tile_size
        if side is None:
            return super().windows(shape)
        return [[(write.start, write.stop) for *_, write in cover(size, side, 0)] for size in shape]


@dataclass(frozen=True)
class Small(Ours):
    """Scale 0 alone, upsampled: the paper's small network, which needs no tiles."""

    title: ClassVar[str] = "small: scale 0, upsampled"

    def modify(self, parser: ConfigParser) -> None:
        """Replace the inferer."""
        parser["inferer"] = CoarsestInferer()

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the whole image as one window."""
        return Method.windows(self, shape)


@dataclass(frozen=True)
class Windowed(Ours):
    """The same cascade by MONAI's sliding window: windows are translated alone, and averaged where they overlap."""

    title: ClassVar[str] = "MONAI's sliding window"
    side: ClassVar[int] = 96
    overlap: ClassVar[int] = 24  # a quarter, MONAI's default

    @property
    def name(self) -> str:
        """The title with side and overlap."""
        return f"{self.title}, {self.side} voxels, {self.overlap} overlap"

    def modify(self, parser: ConfigParser) -> None:
        """Replace the inferer."""
        parser["inferer"] = WindowInferer(self.side, self.overlap, self.translate)

    @staticmethod
    def translate(window: Tensor, cascade: Any, spacing: list[float]) -> Tensor:
        """Translate one batch of windows, `(batch, 1, *spatial)`."""
        return cascade(window, spacing=spacing)

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the windows that are averaged."""
        return grid(shape, self.side, self.side - self.overlap)


@dataclass(frozen=True)
class Patch(Windowed):
    """The finest generator alone, trained without a previous scale, patch by patch: the paper's patch baseline."""

    title: ClassVar[str] = "patch: finest scale alone"
    side: ClassVar[int] = 32
    overlap: ClassVar[int] = 5

    @staticmethod
    def translate(window: Tensor, cascade: Any, spacing: list[float]) -> Tensor:  # noqa: ARG004 - there is no pyramid
        """Translate one batch of patches, with their borders repeated and a previous scale of zeros."""
        finest = cascade.num_scales - 1
        both = torch.cat([window, torch.zeros_like(window)], 1)
        return cascade(extend(both, cascade.reach[finest], cascade.reach[finest]), finest)


class CoarsestInferer(Inferer):
    """Scale 0 of a cascade, upsampled step by step to the image's grid."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Translate `(batch, 1, *spatial)`."""
        size = inputs.shape[2:]
        factors = pyramid(spacing_of(inputs, len(size)), network.num_scales - 1)  # type: ignore[attr-defined]
        result = CascadeInferer(scales=1, progress=False)(inputs, network)
        for factor, finer in zip(factors[::-1], shapes(size, factors)[1:], strict=True):
            result = upsample(result, factor)[region(tuple(slice(0, length) for length in finer))]
        return result


class WindowInferer(Inferer):
    """MONAI's `SlidingWindowInferer` around a cascade; windows are not larger than the image.

    Args:
        side: voxels a side of a window.
        overlap: voxels that neighbours share.
        translate: from windows, cascade and voxel size to translated windows.
    """

    def __init__(self, side: int, overlap: int, translate: Callable[[Tensor, Any, list[float]], Tensor]) -> None:
        super().__init__()
        self.side, self.overlap, self.translate = side, overlap, translate

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Translate `(batch, 1, *spatial)`."""
        size = inputs.shape[2:]
        spacing = spacing_of(inputs, len(size))
        windows = SlidingWindowInferer(
            [min(self.side, length) for length in size],
            sw_batch_size=4,
            overlap=self.overlap / self.side,
            sw_device=next(network.parameters()).device,  # type: ignore[attr-defined]
            device=inputs.device,
        )
        plain = torch.as_tensor(inputs).as_subclass(Tensor).float()
        result = windows(plain, lambda window: self.translate(window, network, spacing))
        assert isinstance(result, Tensor)
        return result
