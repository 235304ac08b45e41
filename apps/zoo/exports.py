"""Compare exported networks with the originals; run in an unpacked bundle's folder, with its code.

The sketch is not part of the ONNX files: it uses thresholds, where the rounding of another runtime can turn a voxel
into an edge, so that no tolerance holds. Users of the files compute the conditions like
`bundle.cascade.Cascade.conditions`, and add the output to the image or the previous scale.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from bundle.runtime.commands import run_command

if TYPE_CHECKING:
    from bundle.cascade import Cascade

#: Largest allowed difference of an export from PyTorch, relative to the largest value.
TOLERANCE = 1e-4


def shipped() -> Cascade:
    """Return the cascade of the folder's `configs/inference.json` with the weights in `models/model.pt`, in eval mode.

    Raises:
        RuntimeError: If the imported code is not the folder's, or the weights do not fit.
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


def compare(name: str, result: Tensor, expected: Tensor) -> float:
    """Return the difference of an export's result from PyTorch's, relative to the largest value.

    Raises:
        ValueError: If the shapes differ, or the difference exceeds `TOLERANCE`.
    """
    if result.shape != expected.shape:
        raise ValueError(f"{name} gives the shape {tuple(result.shape)}, the network {tuple(expected.shape)}.")
    difference = float((result - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{name} differs from the network by {difference:.1e} of the largest value, more than {TOLERANCE:.0e}."
        )
    return difference


@torch.no_grad()
def torchscript(path: str) -> None:
    """Load a TorchScript file and compare it with the whole cascade on images of two shapes.

    Raises:
        ValueError: If `compare` raises it.
    """
    cascade, script = shipped(), torch.jit.load(path)
    torch.manual_seed(0)
    images = [torch.rand(1, 1, *shape) * 2 - 1 for shape in ((40, 48, 16), (33, 25, 12))]
    difference = max(compare("the TorchScript file", script(image), cascade(image)) for image in images)
    print(f"{Path(path).stat().st_size / 1e6:.1f} MB, off by {difference:.1e}")


@torch.no_grad()
def onnx(folder: str) -> None:
    """Export each scale's network to ONNX in a folder and compare it in ONNX Runtime, also with other sizes.

    Raises:
        ValueError: If `compare` raises it.
    """
    import onnxruntime

    cascade, dynamic, worst = shipped(), torch.export.Dim.DYNAMIC, 0.0
    torch.manual_seed(0)
    for scale, network in enumerate([cascade.coarse, *cascade.fine]):
        path, dims = Path(folder) / f"scale_{scale}.onnx", cascade.spatial_dims
        channels = next(network.parameters()).shape[1]
        # above scale 0, a network crops its own reach on every side
        removed = [2 * (reach - margin) for reach, margin in zip(cascade.reach[scale], cascade.margin, strict=True)]
        smallest = [cascade.divisor if scale == 0 else side + 2 for side in removed]
        first, second = ([side + more * cascade.divisor for side in smallest] for more in (2, 5))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(
                network,
                (torch.randn(2, channels, *first),),
                str(path),
                input_names=["conditions"],
                output_names=["difference"],
                dynamic_shapes=(dict.fromkeys((0, *range(2, 2 + dims)), dynamic),),
                dynamo=True,
            )
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for shape in ((1, channels, *first), (2, channels, *second)):
            conditions = torch.randn(shape)
            (output,) = session.run(None, {"conditions": np.asarray(conditions)})
            worst = max(worst, compare(f"scale {scale} in ONNX", torch.from_numpy(output), network(conditions)))
    print(f"{cascade.num_scales} scales without their sketch, free sizes, off by {worst:.1e}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    run_command({"torchscript": torchscript, "onnx": onnx})
