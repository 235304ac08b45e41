"""Find the cases to evaluate, and those for tuning the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundle.evaluation.cases.pairs import Case, RealCase
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase
from bundle.images import find_images, stem
from bundle.training.data import partition_by_patient
from bundle.training.data.packing import leave_out


def find_cases(
    source: str | None = None,
    target: str | None = None,
    dataset_dir: str | None = None,
    kernels: Sequence[Acquisition] = (),
    fold: int = 0,
    num_folds: int = 1,
    held_out: Sequence[str] = (),
    names: Sequence[str] | None = None,
    patients: str | None = None,
) -> list[Case]:
    """Return the cases to evaluate, before anything is written.

    Args:
        source: sharp image, or a folder of them.
        target: soft image of the same acquisition, or a folder with files of the same names; the same as ``source``
            if images are reconstructed from their own sketch.
        dataset_dir: folder of soft CTs for simulated pairs, one pair for each acquisition.
        kernels: simulated acquisitions.
        fold: fold of ``dataset_dir`` to evaluate, split as in training: the images that this fold does not train on.
        num_folds: number of folds; 1 takes all images.
        held_out: names in ``dataset_dir`` to leave out before it is split, as in `configs/train.json`; with or without
            suffix.
        names: names in ``source`` to take, with or without suffix; null for all.
        patients: see `bundle.training.data.partition_by_patient`.

    Raises:
        FileNotFoundError: If a path holds no image, or ``names`` or ``held_out`` one that there is not.
        ValueError: If there is nothing to evaluate, or sources and targets do not match.
    """
    if (source is None) != (target is None):
        raise ValueError(f"source {source!r} and target {target!r} belong together; give both or neither.")
    if source is None and dataset_dir is None:
        raise ValueError("nothing to evaluate: give source and target, or dataset_dir, a folder of soft CTs.")
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold {fold} is not one of 0 to {num_folds - 1}; num_folds is their number.")
    cases: list[Case] = []
    if source is not None and target is not None:
        pairs = [select(find_images(path, key=key), names) for key, path in (("source", source), ("target", target))]
        files = [[Path(path).name for path in paths] for paths in pairs]
        if files[0] != files[1] and not len(files[0]) == len(files[1]) == 1:
            unpaired = sorted(set(files[0]) ^ set(files[1]))
            raise ValueError(
                f"source {source!r} and target {target!r} need files of the same names; {unpaired[0]!r} is in one only."
            )
        cases += [RealCase(*paths) for paths in zip(*pairs, strict=True)]
    if dataset_dir is not None:
        paths = leave_out(find_images(dataset_dir), held_out)
        if not paths:
            raise ValueError(f"held_out leaves no image of dataset_dir {dataset_dir!r}; hold out fewer.")
        parts = partition_by_patient([{"image": path} for path in paths], num_folds, patients)
        selected = {item["image"] for item in parts[fold]}
        cases += [
            SimulatedCase(path, how.drawn(i)) for i, path in enumerate(paths) if path in selected for how in kernels
        ]
    if not cases:
        raise ValueError(f"fold {fold} of {num_folds} of dataset_dir {dataset_dir!r} holds no case; take fewer folds.")
    return cases


def tuning_cases(
    tuning_dir: str | None, seed: int = 0, side: int = 192, places: Sequence[float] = (0.4, 0.6)
) -> list[Case]:
    """Return small simulated pairs of training scans, for tuning the baselines; kernels and doses are drawn.

    Args:
        tuning_dir: folder of soft CTs; null for no cases.
        seed: seed of the drawn values.
        side: side of the central part to take in x and y, in voxels.
        places: positions in z, from 0 to 1; each gives one pair.

    Raises:
        FileNotFoundError: If the folder holds no image.
    """
    if tuning_dir is None:
        return []
    paths = find_images(tuning_dir, key="tuning_dir")
    drawn = Acquisition("drawn", seed=100_000 + seed)  # other draws than those evaluated
    return [
        SimulatedCase(path, drawn.drawn(len(places) * i + k), side, at, "tuning")
        for i, path in enumerate(paths)
        for k, at in enumerate(places)
    ]


def select(paths: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Return the paths with the given names, with or without suffix; all paths if ``names`` is null.

    Raises:
        FileNotFoundError: If a name has no path.
        ValueError: If an image is named twice, or a name without suffix fits two images.
    """
    if names is None:
        return list(paths)
    known: dict[str, str] = {}
    for name in names:
        fitting = [path for path in paths if Path(path).name == name] or [path for path in paths if stem(path) == name]
        if not fitting:
            raise FileNotFoundError(f"names holds {name!r}, but there is no such image beside {paths[0]!r}.")
        if len(fitting) > 1:
            raise ValueError(f"names holds {name!r}, which is {fitting[0]!r} and {fitting[1]!r}; give the suffix.")
        if fitting[0] in known:
            raise ValueError(f"names holds {fitting[0]!r} twice, as {known[fitting[0]]!r} and {name!r}; give it once.")
        known[fitting[0]] = name
    return list(known)
