"""Split images into folds for cross-validation, with all images of a patient in the same fold."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.images import stem
from monai.data import partition_dataset


def partition_by_patient(
    data: Sequence[Mapping[str, Any]], num_folds: int, patients: str | Path | None = None
) -> list[list[Mapping[str, Any]]]:
    """Split images into folds, reproducibly (Uzunova et al. 2019, section 3.2).

    Args:
        data: images, each with its path as ``image``.
        num_folds: number of folds.
        patients: a CSV file with the columns ``file`` (with any suffix) and ``patient``; an image without a patient, or
            with patient ``unknown``, counts as its own patient. Null: every image does.

    Raises:
        FileNotFoundError: If the CSV file does not exist.
        ValueError: If it lacks a column, there are more folds than patients, or there is no image.
    """
    known = _known(Path(patients)) if patients else {}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in data:
        name = Path(item["image"]).name
        groups.setdefault(known.get(name) or known.get(stem(name)) or f"image {name}", []).append(item)
    if not groups:
        raise ValueError(
            "no image is left to split into folds: held_out names all; hold out fewer, or give more images."
        )
    if not 1 <= num_folds <= len(groups):
        raise ValueError(f"num_folds {num_folds} must be 1 to {len(groups)}, the number of patients.")
    parts = partition_dataset(list(groups.values()), num_partitions=num_folds, shuffle=True, seed=0)
    return [[item for group in part for item in group] for part in parts]


def sampling_weights(data: Sequence[Mapping[str, Any]], often: Mapping[str, float]) -> list[float]:
    """Return how often to sample each image, so that few images of a kind are not lost among many others.

    Args:
        data: images, each with its path as ``image``.
        often: weights by how the file name begins; the longest beginning counts. Others have weight 1.

    Raises:
        ValueError: If a weight is not above 0.
    """
    if bad := {name: weight for name, weight in often.items() if not weight > 0}:
        raise ValueError(f"often {bad} must be above 0; leave images out by held_out.")
    names = [Path(item["image"]).name for item in data]
    known = sorted(often, key=len)
    return [next((float(often[key]) for key in reversed(known) if name.startswith(key)), 1.0) for name in names]


def _known(file: Path) -> dict[str, str]:
    """Read the patient of each file."""
    if not file.exists():
        raise FileNotFoundError(f"patients {str(file)!r} does not exist; give a CSV file with columns file, patient.")
    with file.open(newline="", encoding="utf-8-sig") as text:  # Excel begins a file with a byte order mark
        reader = csv.DictReader(text)
        lacking = {"file", "patient"} - set(reader.fieldnames or ())
        if lacking:
            raise ValueError(
                f"patients {str(file)!r} has no column {sorted(lacking)[0]!r}; its first line has to name file and "
                "patient."
            )
        rows = [row for row in reader if row["patient"] != "unknown"]
    return {form(row["file"]): row["patient"] for form in (stem, str) for row in rows}
