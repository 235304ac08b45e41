"""T1 to T2 of heads with skull, as they are and with the skull stripped first: the tables of `docs/brain.md`.

    python -m benchmarks.stripped_heads DATA OUTPUT [--names NAME,NAME]

DATA holds ``NAME_T1.nii.gz`` and ``NAME_T2.nii.gz``. The brain is segmented on T1 and T2 together (`brain_mask`), as no
tool for T1 alone comes with this project. The shipped weights translate both heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.heads import PATIENTS, SKULL, rows, run_config
from bundle.geometry import spacing_of
from bundle.runtime.commands import run_command
from bundle.training.data.heads import brain_mask
from bundle.training.data.packing import read, write_packed
from bundle.transforms.percentiles import store

NAMES = [name for group in PATIENTS.values() for name in group if name.startswith(SKULL)]
EVALUATE = "['configs/evaluate.json','configs/brain_t1_t2_evaluate.json']"


def strip(sources: Sequence[Path], destinations: Sequence[Path]) -> None:
    """Write T1 and T2 with everything but the brain set to 0.

    Args:
        sources: files of T1 and T2 on one grid, background 0 and brightest tissue about 1000.
        destinations: files of T1 and T2 to write.
    """
    t1, t2 = images = [read(path) for path in sources]
    mask = brain_mask(t1, t2, spacing_of(t1, 3))
    for image, path in zip(images, destinations, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_packed(image * mask, path)


def main(data: str, output: str, names: Sequence[str] = NAMES) -> None:
    """Store the heads, strip them, translate both, and print the rows: SSIM, MAE, MSE.

    Args:
        data: folder of the images.
        output: folder to write to.
        names: the heads.
    """
    names = [names] if isinstance(names, str) else list(names)
    root = Path(output)
    for name in names:
        for contrast in ("T1", "T2"):
            store(Path(data) / f"{name}_{contrast}.nii.gz", root / "whole" / contrast / f"{name}.nii.gz")
        whole, cut, stripped = (
            [root / folder / contrast / f"{name}.nii.gz" for contrast in ("T1", "T2")]
            for folder in ("whole", "cut", "stripped")
        )
        strip(whole, cut)
        for source, destination in zip(cut, stripped, strict=True):  # without fat, the brain is the brightest
            store(source, destination)
    for folder in ("whole", "stripped"):
        keys: dict[str, Any] = {"source": root / folder / "T1", "target": root / folder / "T2", "cases#names": names}
        keys |= {"evaluation#only": ["small", "ours"], "output_dir": root / folder / "evaluation"}
        run_config("evaluating", EVALUATE, keys)
        for row in rows(root / folder / "evaluation" / "table.csv"):
            print(f"{folder}, {row}", flush=True)


if __name__ == "__main__":
    run_command(main)
