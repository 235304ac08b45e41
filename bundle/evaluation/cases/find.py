"""Which cases are evaluated, and on which the competitors are tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundle.evaluation.cases.pairs import Case, RealCase
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase
from bundle.images import find_images, stem
from bundle.training.data import partition_by_patient


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
    """The cases to evaluate, before anything is written.

    Args:
        source: sharp image, or a folder of them.
        target: soft image of the same acquisition, or a folder with files of the same names; the same as ``source``
            where images are made again from their own sketch.
        dataset_dir: folder of soft CTs for simulated pairs, one for each kernel.
        kernels: how they are acquired.
        fold: which part of ``dataset_dir`` is taken, as training splits it; the part that this fold did not train on.
        num_folds: number of parts; 1 takes all.
        held_out: names in ``dataset_dir`` that are left aside before it is split, as in `configs/train.json`.
        names: names in ``source`` that alone are taken, with or without suffix; null for all.
        patients: see `bundle.training.data.partition_by_patient`.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If there is nothing to evaluate, or sources and targets do not match.
    """
    if (source is None) != (target is None):
        raise ValueError(f"source {source!r} and target {target!r} belong together; give both or neither.")
    if source is None and dataset_dir is None:
        raise ValueError("nothing to evaluate: give source and target, or dataset_dir, a folder of soft CTs.")
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold {fold} is none of 0 to {num_folds - 1}; num_folds says how many there are.")
    cases: list[Case] = []
    if source is not None and target is not None:
        pairs = [taken(find("source", source), names), taken(find("target", target), names)]
        found = [[Path(path).name for path in paths] for paths in pairs]
        if found[0] != found[1] and not len(found[0]) == len(found[1]) == 1:
            alone = sorted(set(found[0]) ^ set(found[1]))
            raise ValueError(
                f"source {source!r} and target {target!r} have to hold files of the same names; {alone[0]!r} is alone."
            )
        cases += [RealCase(*paths) for paths in zip(*pairs, strict=True)]
    if dataset_dir is not None:
        paths = [path for path in find("dataset_dir", dataset_dir) if Path(path).name not in held_out]
        parts = partition_by_patient([{"image": path} for path in paths], num_folds, patients)
        chosen = {item["image"] for item in parts[fold]}
        cases += [
            SimulatedCase(path, how.drawn(i)) for i, path in enumerate(paths) if path in chosen for how in kernels
        ]
    if not cases:
        raise ValueError(f"fold {fold} of {num_folds} of dataset_dir {dataset_dir!r} holds no case; take fewer folds.")
    return cases


def tuning_cases(
    tuning_dir: str | None, seed: int = 0, side: int = 192, places: Sequence[float] = (0.4, 0.6)
) -> list[Case]:
    """Small simulated pairs of training scans, on which the competitors are tuned; kernels and doses drawn.

    Args:
        tuning_dir: folder of soft CTs; null: no cases.
        seed: of what is drawn.
        side: voxels in x and y of the middle that is taken.
        places: where in z, from 0 to 1; a pair each.

    Raises:
        FileNotFoundError: If there is nothing in the folder.
    """
    if tuning_dir is None:
        return []
    paths = find("tuning_dir", tuning_dir)
    drawn = Acquisition("drawn", seed=100_000 + seed)  # other ones than those that are evaluated
    return [
        SimulatedCase(path, drawn.drawn(len(places) * i + k), side, at, "tuning")
        for i, path in enumerate(paths)
        for k, at in enumerate(places)
    ]


def taken(paths: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """The paths of some names, with or without suffix; of all, where there are none.

    Raises:
        FileNotFoundError: If there is no path of a name.
    """
    known = {name: path for path in paths for name in (Path(path).name, stem(path))}
    lacking = sorted(set(names or ()) - set(known))
    if lacking:
        raise FileNotFoundError(f"names holds {lacking[0]!r}, of which there is no image beside {paths[0]!r}.")
    return list(paths) if names is None else [known[name] for name in names]


def find(key: str, path: str) -> list[str]:
    """The images at the path of a config's key (`bundle.images.find_images`)."""
    try:
        return find_images(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("dataset_dir", key, 1)) from None
