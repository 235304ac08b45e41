"""Recreate the catalogue of kernels, `bundle/scanner/kernels.json`, from the real pairs.

    python -m benchmarks.catalogue DATA [--path bundle/scanner/kernels.json]

For DATA see `benchmarks.pairs`. Each pair is calibrated as by the run id ``calibrating``; the sharp kernel is found in
the sharp scan, and the soft kernel is the sharp one times the fitted gain. Of several pairs the first counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bundle.evaluation.calibrating import pair_of_kernels
from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.runtime.files import atomic
from bundle.scanner import Conversion, Transfer, calibrate, spread_slices
from bundle.scanner.kernels import CATALOGUE, Kernels, as_json

SLICES = 24  # largest number of slices of a pair
CHEST = "one slice of a chest (Choe et al., Radiology 2019)"
#: Manufacturer, names of both kernels, their files, and a description of these.
PAIRS = [
    ("SIEMENS", "B50f", "B30f", [("kernels/chest1_B50f", "kernels/chest1_B30f")], CHEST),
    ("SIEMENS", "B70f", "B30f", [("kernels/chest1_B70f", "kernels/chest1_B30f")], CHEST),
    ("SIEMENS", "B50f", "B10f", [("kernels/chest1_B50f", "kernels/chest1_B10f")], CHEST),
    ("SIEMENS", "B70f", "B10f", [("kernels/chest1_B70f", "kernels/chest1_B10f")], CHEST),
    (
        "SIEMENS",
        "D45f",
        "B30f",
        [(f"kernels/L067_{z}_D45f", f"kernels/L067_{z}_B30f") for z in ("0070", "0150", "0218")],
        "three slices of 3 mm (AAPM/Mayo challenge, L067)",
    ),
    (
        "SIEMENS",
        "B70f",
        "B40f",
        [("ct/lungdx_A0002_sharpB70f", "ct/lungdx_A0002_softB40f")],
        "slices of 8 mm (Lung-PET-CT-Dx, A0002)",
    ),
    (
        "Philips",
        "YA",
        "UB",
        [("kernels/headphantom_YA", "kernels/headphantom_UB")],
        "slices of 1 mm of a head phantom (dcm_qa_ct)",
    ),
]


@torch.no_grad()
def measured(
    data: Path, maker: str, first: str, second: str, files: Sequence[tuple[str, str]], about: str
) -> tuple[tuple[Transfer, Transfer], Conversion]:
    """Return both kernels of a pair, and the conversion between them; for the arguments see `PAIRS`."""
    pairs = [tuple(Volume(data / f"{name}.nii.gz") for name in names) for names in files]
    slices = [(a[..., z], b[..., z], None) for a, b in pairs for z in spread_slices(a.shape[2], SLICES // len(pairs))]
    fitted = calibrate(slices, pairs[0][0].spacing, source=f"{first} and {second} of {about}")
    return pair_of_kernels(pairs[0][0], [first, second], fitted.filter, maker, about), fitted


def main(data: str, path: str = str(CATALOGUE)) -> None:
    """Write the catalogue.

    Args:
        data: folder of the pairs.
        path: path of the catalogue.
    """
    kernels: dict[tuple[str, str], Transfer] = {}
    conversions: list[tuple[str, str, Conversion]] = []
    for maker, first, second, files, about in PAIRS:
        found, fitted = measured(Path(data), maker, first, second, files, about)
        conversions.append((first, second, fitted))
        for kernel in found:
            kernels.setdefault((maker, kernel.name), kernel)
        print(f"{maker} {first}, {second}: {about}", flush=True)
    with atomic(Path(path)) as part:
        part.write_text(as_json(Kernels(tuple(kernels.values()), tuple(conversions))), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
