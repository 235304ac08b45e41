"""Exported networks beside the originals: run in an unpacked bundle's folder, with the code that lies there.

The sketch stays outside of the ONNX files: it compares with thresholds, where another runtime's rounding turns a voxel
from no edge to an edge, so that no tolerance can be kept. Whoever runs the files makes the conditions as
`bundle.cascade.Cascade.conditions` does, and adds what comes out to the image or the previous scale.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import fire
import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor

if TYPE_CHECKING:
    from bundle.cascade import Cascade

#: How far an export may be from PyTorch, of its largest value.
TOLERANCE = 1e-4


def shipped() -> Cascade:
    """The cascade of the folder's `configs/inference.json` with the weights in `models/model.pt`, to infer.

    Raises:
        RuntimeError: If its code is not the folder's, or the weights are not its.
    """
    import bundle

    if Path(bundle.__file__).resolve().parents[1] != Path.cwd():
        raise RuntimeError(
            f"the package `bundle` comes from {bundle.__file__}; run this in the unpacked bundle's folder."
        )
    parser = ConfigParser()
    parser.read_config("configs/inference.json")
    parser.read_meta("configs/metadata.json")
    cascade = parser.get_parsed_content("network_def")
    cascade.load_state_dict(torch.load("models/model.pt", weights_only=True))
    return cast("Cascade", cascade.eval())


def compare(name: str, made: Tensor, expected: Tensor) -> float:
    """How far an export's result is from PyTorch's, of the largest value.

    Raises:
        ValueError: If it has another shape, or is further off than `TOLERANCE`.
    """
    if made.shape != expected.shape:
        raise ValueError(f"{name} gives the shape {tuple(made.shape)}, the network {tuple(expected.shape)}.")
    off = float((made - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE:
        raise ValueError(f"{name} is {off:.1e} of the largest value off the network, more than {TOLERANCE:.0e}.")
    return off


@torch.no_grad()
def torchscript(path: str) -> None:
    """Load a TorchScript file and compare it with the whole cascade on images of two shapes.

    Raises:
        ValueError: See `compare`.
    """
    cascade, script = shipped(), torch.jit.load(path)
    torch.manual_seed(0)
    images = [torch.rand(1, 1, *shape) * 2 - 1 for shape in ((40, 48, 16), (33, 25, 12))]
    off = max(compare("the TorchScript file", script(image), cascade(image)) for image in images)
    print(f"{Path(path).stat().st_size / 1e6:.1f} MB, off by {off:.1e}")


@torch.no_grad()
def onnx(folder: str) -> None:
    """Export every scale's network to ONNX in a folder and compare them in ONNX Runtime, on sizes not exported with.

    Raises:
        ValueError: See `compare`.
    """
    import onnxruntime

    cascade, free, worst = shipped(), torch.export.Dim.DYNAMIC, 0.0
    torch.manual_seed(0)
    for scale, network in enumerate([cascade.coarse, *cascade.fine]):
        path, dims = Path(folder) / f"scale_{scale}.onnx", cascade.spatial_dims
        channels = next(network.parameters()).shape[1]
        # above scale 0 a network takes its own reach off every side
        lost = [2 * (far - edge) for far, edge in zip(cascade.reach[scale], cascade.margin, strict=True)]
        least = [cascade.divisor if scale == 0 else side + 2 for side in lost]
        first, second = ([side + more * cascade.divisor for side in least] for more in (2, 5))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(
                network,
                (torch.randn(2, channels, *first),),
                str(path),
                input_names=["conditions"],
                output_names=["difference"],
                dynamic_shapes=(dict.fromkeys((0, *range(2, 2 + dims)), free),),
                dynamo=True,
            )
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for shape in ((1, channels, *first), (2, channels, *second)):
            conditions = torch.randn(shape)
            (made,) = session.run(None, {"conditions": np.asarray(conditions)})
            worst = max(worst, compare(f"scale {scale} in ONNX", torch.from_numpy(made), network(conditions)))
    print(f"{cascade.num_scales} scales without their sketch, free sizes, off by {worst:.1e}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    fire.Fire({"torchscript": torchscript, "onnx": onnx})
