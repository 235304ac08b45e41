"""The bundle's cascade as a method, run by the inference config, and the paper's baselines run in the same way.

The baselines differ from ours only in their weights or their inferer.
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
from bundle.images import Volume, write
from bundle.runtime.arguments import check_keys
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor


@dataclass(frozen=True)
class Translation:
    """Settings of inference.

    Args:
        config: the inference config, or several; later ones override earlier ones.
        bundle_root: folder of the bundle.
        device: device of the networks.
        weights: the checkpoint; null for that of the config.
        tile_size: side of the tiles in voxels; null to choose it by the memory budget.
        keys: other keys of the config and their values.
    """

    config: str | Sequence[str]
    bundle_root: str = "."
    device: torch.device | str = "cpu"
    weights: str | None = None
    tile_size: int | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    def parser(self) -> ConfigParser:
        """Return the config with its keys set, before anything is instantiated.

        Raises:
            ValueError: If one of ``keys`` is not in the config.
        """
        parser, config = ConfigParser(), [self.config] if isinstance(self.config, str) else list(self.config)
        check_keys(self.keys, config)
        parser.read_config(config)
        keys = {"bundle_root": self.bundle_root, "device": self.device, "tile_size": self.tile_size}
        parser.update({**keys, **({"weights": self.weights} if self.weights else {}), **self.keys})
        if isinstance(parser["inferer"], dict):
            parser["inferer#inferer#progress"] = False
        return parser


@dataclass(frozen=True)
class Ours(Method):
    """The cascade, run as in inference.

    Args:
        translation: settings of inference.
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
        """Build the networks and return a function that translates one file as ``run inference`` does."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=destination.parent, prefix=".part_")
        parser = self.translation.parser()
        parser.update({"dataset_dir": str(source), "output_dir": folder.name, "output_ext": ".nii"})
        parser["provenance"] = False
        self.modify(parser)
        parser.get_parsed_content("initialize")
        evaluator = parser.get_parsed_content("evaluator")

        def work() -> None:
            with folder, redirect_stdout(StringIO()):  # hide the printed path, which is temporary
                evaluator.run()
                (result,) = Path(folder.name).iterdir()
                write(destination, Volume(result))

        return work

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the tiles."""
        side = self.translation.tile_size
        if side is None:
            return super().windows(shape)
        return [[(write.start, write.stop) for *_, write in cover(size, side, 0)] for size in shape]


@dataclass(frozen=True)
class Small(Ours):
    """Scale 0 alone, upsampled: the paper's small network. It needs no tiles."""

    title: ClassVar[str] = "small: scale 0, upsampled"

    def modify(self, parser: ConfigParser) -> None:
        """Replace the inferer."""
        parser["inferer"] = CoarsestInferer()

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the whole image as one window."""
        return Method.windows(self, shape)


@dataclass(frozen=True)
class Windowed(Ours):
    """The same cascade with MONAI's sliding window: windows are translated alone and averaged where they overlap."""

    title: ClassVar[str] = "MONAI's sliding window"
    side: ClassVar[int] = 96
    overlap: ClassVar[int] = 24  # a quarter, MONAI's default

    @property
    def name(self) -> str:
        """Title with side and overlap."""
        return f"{self.title}, {self.side} voxels, {self.overlap} overlap"

    def modify(self, parser: ConfigParser) -> None:
        """Replace the inferer."""
        parser["inferer"] = WindowInferer(self.side, self.overlap, self.translate)

    @staticmethod
    def translate(window: Tensor, cascade: Any, spacing: list[float]) -> Tensor:
        """Translate one batch of windows, `(batch, 1, *spatial)`."""
        return cascade(window, spacing=spacing)

    def windows(self, shape: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Return the sliding windows."""
        return grid(shape, self.side, self.side - self.overlap)


@dataclass(frozen=True)
class Patch(Windowed):
    """The finest generator alone, trained without a previous scale, run patch by patch: the paper's patch baseline."""

    title: ClassVar[str] = "patch: finest scale alone"
    side: ClassVar[int] = 32
    overlap: ClassVar[int] = 5

    def modify(self, parser: ConfigParser) -> None:
        """Replace the inferer; without a previous scale, the generator makes the whole image, not detail alone."""
        super().modify(parser)
        if parser.get("network_def#fine#detail"):
            parser["network_def#fine#detail"] = None

    @staticmethod
    def translate(window: Tensor, cascade: Any, spacing: list[float]) -> Tensor:  # noqa: ARG004 - there is no pyramid
        """Translate one batch of patches, with replicated borders and zeros as the previous scale."""
        finest = cascade.num_scales - 1
        both = torch.cat([window, torch.zeros_like(window)], 1)
        return cascade(extend(both, cascade.reach[finest], cascade.reach[finest]), finest)


class CoarsestInferer(Inferer):
    """Run scale 0 of a cascade and upsample the result step by step to the image's grid."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Translate `(batch, 1, *spatial)`."""
        size = inputs.shape[2:]
        factors = pyramid(spacing_of(inputs, len(size)), network.num_scales - 1)  # type: ignore[attr-defined]
        result = CascadeInferer(scales=1, progress=False)(inputs, network)
        for factor, finer in zip(factors[::-1], shapes(size, factors)[1:], strict=True):
            result = upsample(result, factor)[region(tuple(slice(0, length) for length in finer))]
        return result


class WindowInferer(Inferer):
    """Run a cascade by MONAI's `SlidingWindowInferer`, with windows no larger than the image.

    Args:
        side: side of a window in voxels.
        overlap: overlap of neighbouring windows in voxels.
        translate: function of windows, cascade and voxel spacing that returns the translated windows.
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
