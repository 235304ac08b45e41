"""Leave-one-patient-out cross-validation of T1 to T2 with skull: all trainings of `docs/brain.md`, and the table.

    python -m benchmarks.heads DATA OUTPUT [--only NAME] [--minutes 50]

DATA holds ``NAME_T1.nii.gz`` and ``NAME_T2.nii.gz``. For each patient, both scales are trained without the patient, and
so is the patch baseline. Finished work is kept, and the same command resumes a stopped training.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bundle.runtime.commands import run_command
from bundle.runtime.files import atomic
from bundle.training import finished
from bundle.training.weights import own_weights
from bundle.transforms.percentiles import store

#: Images of each patient, which are left out together. Other images are only trained on.
PATIENTS = {
    "openms_p07": ["openms_p07"],
    "openms_p19": ["openms_p19"],
    "stroke_cstar": ["stroke_cstar"],
    "tcga_DU_7294": ["tcga_DU_7294"],
    "openms_long_p041": ["openms_long_p041"],
    "openms_long_p121": ["openms_long_p121", "openms_long_p122"],
}
OVERLAY = "configs/head_t1_t2.json"
TRAIN = str([f"configs/{name}.json" for name in ("train", "head_t1_t2", "brain_t1_t2_train", "head_t1_t2_train")])
EVALUATE = f"['configs/evaluate.json','{OVERLAY.replace('.json', '_evaluate.json')}']"
PATCH = {"conditions#previous": False, "generated#prob": 0}
#: Beginning of the names of the heads with skull.
SKULL = "openms_long"
#: How often these are sampled, by the beginning of their names: about two thirds of all samples, whichever patient is
#: left out.
OFTEN = {"openms_long_p041": 9.0, "openms_long_p12": 4.0}


@dataclass(frozen=True)
class Training:
    """Training of one scale in a folder, without some images.

    Args:
        folder: output folder of the training.
        scale: the scale.
        held_out: names of the images to leave out.
        keys: further keys of `configs/train.json`.
    """

    folder: Path
    scale: int
    held_out: tuple[str, ...]
    keys: dict = field(default_factory=dict)

    def finished(self) -> bool:
        """Return whether its weights are complete."""
        return finished(self.folder, self.scale)


def trainings(patient: Sequence[str], folder: Path) -> Iterator[Training]:
    """Yield the trainings with one patient left out, in order.

    Args:
        patient: names of the patient's images.
        folder: folder of this patient.
    """
    held = tuple(patient)
    yield Training(folder / "all", 0, held)
    yield Training(folder / "all", 1, held)
    yield Training(folder / "patch", 1, held, PATCH)


def main(data: str, output: str, only: str | None = None, minutes: float = 0) -> None:
    """Train, evaluate, and print the table.

    Args:
        data: folder of the images.
        output: folder to write to.
        only: one patient; null for all.
        minutes: time limit, after which the training stops and can be resumed; 0 for no limit.

    Raises:
        ValueError: If the patient is unknown.
    """
    if only and only not in PATIENTS:
        raise ValueError(f"only {only!r} is not a patient to leave out here; take one of {', '.join(PATIENTS)}.")
    end, root = time.monotonic() + 60 * minutes if minutes else None, Path(output)
    names = sorted(file.name.removesuffix("_T1.nii.gz") for file in Path(data).glob("*_T1.nii.gz"))
    by_median = json.loads(Path(OVERLAY).read_text(encoding="utf-8"))["median"]
    for name in names:
        for contrast, to, median in (("T1", "t1", None), ("T1", "t1_median", by_median), ("T2", "t2", None)):
            scaled = root / to / f"{name}.nii.gz"
            if not scaled.exists():
                store(Path(data) / f"{name}_{contrast}.nii.gz", scaled, median=median)
    for patient in [only] if only else PATIENTS:
        for training in trainings(PATIENTS[patient], root / patient):
            left = (end - time.monotonic()) / 60 if end else 0
            if end and left <= 0:
                print("stopped; the same command goes on")
                return
            _train(training, root, left)
            if not training.finished():
                print("stopped; the same command goes on")
                return
        for line in _evaluate(root, patient):
            print(line, flush=True)


def _train(training: Training, root: Path, minutes: float) -> None:
    """Run a training unless it is finished."""
    if training.finished():
        return
    keys: dict[str, Any] = {"dataset_dir": root / "t1_median", "label_dir": root / "t2", "output_dir": training.folder}
    keys |= {"weights": training.folder / "model.pt"}  # does not exist: no scale uses the shipped weights
    keys |= {
        "scale": training.scale,
        "held_out": list(training.held_out),
        "max_minutes": minutes,
        "amp": True,
        "heads#often": OFTEN,
    }
    run_config("training", TRAIN, keys | training.keys)


def _evaluate(root: Path, patient: str) -> Iterator[str]:
    """Join the weights, evaluate them once, and yield the rows of the table: SSIM, MAE, MSE."""
    folder, weights = root / patient, root / patient / "model.pt"
    table = folder / "evaluation" / "table.csv"
    if not table.exists():
        state: dict[str, torch.Tensor] = {}
        for scale in range(2):
            trained = torch.load(folder / "all" / f"scale_{scale}.pt", map_location="cpu", weights_only=True)
            state |= (state and own_weights(trained, scale)) or trained
        with atomic(weights) as part:
            torch.save(state, part)
        keys: dict[str, Any] = {
            "source": root / "t1",
            "target": root / "t2",
            "cases#names": PATIENTS[patient],
            "overlay": OVERLAY,
        }
        keys |= {"weights": weights, "patch_weights": folder / "patch" / "scale_1.pt", "output_dir": table.parent}
        run_config("evaluating", EVALUATE, keys)
    yield from rows(table)


def rows(table: Path) -> Iterator[str]:
    """Yield the rows of a table: case, method, SSIM, MAE, MSE."""
    with table.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            yield f"{row['case']}, {row['method']}: " + " / ".join(row[name] for name in ("ssim", "mae", "mse"))


def run_config(run_id: str, config: str, keys: dict) -> None:
    """Run a config of the bundle in a child process."""
    settings = [text for key, value in keys.items() for text in (f"--{key}", str(value))]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config, *settings], check=True
    )


if __name__ == "__main__":
    run_command(main)
