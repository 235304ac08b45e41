"""Leave-one-patient-out cross-validation of T1 to T2: all trainings of `docs/brain.md`, the patch baseline, the table.

    python -m benchmarks.heads DATA OUTPUT [--only NAME] [--start WEIGHTS] [--minutes 50]

DATA holds ``NAME_T1.nii.gz`` and ``NAME_T2.nii.gz``. Without WEIGHTS the networks are trained from scratch, and their
previous scales are cross-fitted. With WEIGHTS, which have to be of heads without skull alone, they start from these,
heads with skull are sampled more often, and only patients with skull are left out. Finished work is kept, and the same
command resumes a stopped training.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fire
import torch

from bundle.runtime.files import atomic
from bundle.training.weights import own_weights
from bundle.transforms.percentiles import store

#: Images of each patient, which are left out together. Images that are not listed are only trained on.
PATIENTS = {
    "openms_p07": ["openms_p07"],
    "openms_p19": ["openms_p19"],
    "stroke_cstar": ["stroke_cstar"],
    "tcga_DU_7294": ["tcga_DU_7294"],
    "openms_long_p041": ["openms_long_p041"],
    "openms_long_p121": ["openms_long_p121", "openms_long_p122"],
}
OVERLAY = "configs/head_t1_t2.json"
TRAIN = f"['configs/train.json','{OVERLAY}','configs/brain_t1_t2_train.json']"
EVALUATE = f"['configs/evaluate.json','{OVERLAY.replace('.json', '_evaluate.json')}']"
PATCH = {"conditions#previous": False, "generated#prob": 0}
#: Beginning of the names of the heads with skull, and how often these are sampled: about two thirds of all samples,
#: whichever patient is left out.
SKULL, OFTEN = "openms_long", {"openms_long_p041": 9.0, "openms_long_p12": 4.0}
#: Epochs, iterations per epoch and learning rate of each scale that starts from weights, and of those of a training
#: without any head with skull, which makes previous scales.
FURTHER = ((16, 150, 0.003), (16, 75, 0.001), (10, 75, 0.001))
OTHERS = ((5, 150, 0.003), (4, 75, 0.001))


@dataclass(frozen=True)
class Training:
    """Training of one scale in a folder, without some images.

    Args:
        folder: output folder of the training.
        scale: the scale.
        held_out: names of the images to leave out.
        keys: further keys of `configs/train.json`.
        copied: weights of scale 0 of another folder, which it builds on; null for its own.
    """

    folder: Path
    scale: int
    held_out: tuple[str, ...]
    keys: dict = field(default_factory=dict)
    copied: Path | None = None

    def finished(self) -> bool:
        """Return whether its weights are complete."""
        resumed = any(self.folder.glob(f"resume_{self.scale}_*.pt"))
        return (self.folder / f"scale_{self.scale}.pt").is_file() and not resumed


def trainings(
    names: Sequence[str], patient: Sequence[str], folder: Path, start: str | None = None
) -> Iterator[Training]:
    """Yield the trainings with one patient left out, in order.

    Args:
        names: names of all images.
        patient: names of the patient's images.
        folder: folder of this patient.
        start: weights to start from; null for none.
    """
    held = tuple(patient)
    if start:
        skulls = tuple(name for name in names if name.startswith(SKULL))
        common: dict[str, Any] = {"finetune": start, "heads#often": OFTEN}
        for scale, schedule in enumerate(OTHERS):
            yield Training(
                folder.parent / "others", scale, tuple(sorted({*skulls, *held})), common | _schedule(*schedule)
            )
        fitted = {"cross_fitting": [str(folder.parent / "others")], "generate_previous#unseen#own": True}
        for scale, schedule in enumerate(FURTHER):
            yield Training(folder / "all", scale, held, common | _schedule(*schedule) | (fitted if scale else {}))
        yield Training(folder / "patch", 2, held, common | _schedule(*FURTHER[2]) | PATCH)
        return
    others = [group for group in _groups(names) if group[0] not in held]
    for half in (0, 1):
        without = held + tuple(name for group in others[half::2] for name in group)
        sharp, soft = folder / f"sharp_{half}", folder / f"soft_{half}"
        yield Training(sharp, 0, without, {"max_epochs": 10})
        yield Training(sharp, 1, without, {"max_epochs": 12})
        yield Training(soft, 1, without, {"max_epochs": 4, "generated#prob": 0.25}, copied=sharp)
    halves = [str(folder / f"{kind}_{half}") for kind in ("sharp", "soft") for half in (0, 1)]
    yield Training(folder / "all", 0, held)
    yield Training(folder / "all", 1, held, {"cross_fitting": halves[:2]})
    yield Training(folder / "all", 2, held, {"cross_fitting": halves})
    yield Training(folder / "patch", 2, held, PATCH)


def main(data: str, output: str, only: str | None = None, start: str | None = None, minutes: float = 0) -> None:
    """Train, evaluate, and print the table.

    Args:
        data: folder of the images.
        output: folder to write to.
        only: one patient; null for all.
        start: weights to start from.
        minutes: time limit, after which the training stops and can be resumed; 0 for no limit.

    Raises:
        ValueError: If the patient is unknown, or without skull although the training starts from weights.
    """
    patients = [name for name in PATIENTS if not start or name.startswith(SKULL)]
    if only and only not in patients:
        raise ValueError(f"only {only!r} is not a patient to leave out here; take one of {', '.join(patients)}.")
    end, root = time.monotonic() + 60 * minutes if minutes else None, Path(output)
    names = sorted(file.name.removesuffix("_T1.nii.gz") for file in Path(data).glob("*_T1.nii.gz"))
    by_median = json.loads(Path(OVERLAY).read_text(encoding="utf-8"))["median"]
    for name in names:
        for contrast, to, median in (("T1", "t1", None), ("T1", "t1_median", by_median), ("T2", "t2", None)):
            scaled = root / to / f"{name}.nii.gz"
            if not scaled.exists():
                store(Path(data) / f"{name}_{contrast}.nii.gz", scaled, median=median)
    for patient in [only] if only else patients:
        for training in trainings(names, PATIENTS[patient], root / patient, start):
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
    if training.copied:
        training.folder.mkdir(parents=True, exist_ok=True)
        for end in (".pt", ".json"):
            shutil.copy(training.copied / f"scale_0{end}", training.folder)
    keys: dict[str, Any] = {"dataset_dir": root / "t1_median", "label_dir": root / "t2", "output_dir": training.folder}
    keys |= {"weights": training.folder / "model.pt"}  # does not exist: no scale uses the shipped weights
    keys |= {"scale": training.scale, "held_out": list(training.held_out), "max_minutes": minutes, "amp": True}
    run_config("training", TRAIN, keys | training.keys)


def _evaluate(root: Path, patient: str) -> Iterator[str]:
    """Join the weights, evaluate them once, and yield the rows of the table: SSIM, MAE, MSE."""
    folder, weights = root / patient, root / patient / "model.pt"
    table = folder / "evaluation" / "table.csv"
    if not table.exists():
        state: dict[str, torch.Tensor] = {}
        for scale in range(3):
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
        keys |= {"weights": weights, "patch_weights": folder / "patch" / "scale_2.pt", "output_dir": table.parent}
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


def _schedule(epochs: int, iterations: int, rate: float) -> dict[str, Any]:
    """Return the keys of the length of a training."""
    return {"max_epochs": epochs, "iterations_per_epoch": iterations, "learning_rate": rate}


def _groups(names: Sequence[str]) -> list[list[str]]:
    """Group the images by patient."""
    known = list(PATIENTS.values())
    return [*known, *([name] for name in names if not any(name in group for group in known))]


if __name__ == "__main__":
    fire.Fire(main)
