"""Check the values of a config's keys before the first image is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from bundle.runtime.bytes import parse_bytes
from bundle.runtime.host_memory import all_memory
from bundle.runtime.scalars import is_count, is_finite, is_whole

#: Voxel types for files.
TYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
#: Formats of a report; sr is a DICOM structured report.
REPORTS = ("json", "html", "pdf", "sr")


def check_settings(
    spatial_dims: Any = 3,
    tile_size: Any = None,
    memory_budget: Any = "2GiB",
    device: Any = "cpu",
    output_dtype: Any = "int16",
    seed: Any = 0,
    ranges: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    report: Any = "",
    percentiles: Any = None,
    median: Any = None,
) -> None:
    """Refuse values that would fail later or produce something unintended.

    Args:
        spatial_dims: 2 or 3.
        tile_size: voxels a side, one integer or one per axis; null to derive it from the budget.
        memory_budget: bytes, at most those of the device.
        device: device of the networks.
        output_dtype: name of the voxel type of results, which must hold the target's range.
        seed: a non-negative integer below 2^32.
        ranges: pairs of numbers, the lower one first, by key; blocks of such pairs are checked too, such as ``source``
            and ``target`` with window and limits.
        flags: values that must be True, False or null, by key.
        report: formats of a report, see `report_formats`.
        percentiles: whether, and by which, images are scaled by percentiles; null or empty if they are not. They are
            refused for CT, with ``match_kernel`` or a source window that begins below 0.
        median: value that the median becomes where they are; null for none.

    Raises:
        ValueError: If a value has the wrong type or is out of range; the message names key, value, rule and remedy.
    """
    if spatial_dims not in (2, 3) or isinstance(spatial_dims, bool):
        raise ValueError(f"spatial_dims {spatial_dims!r} is neither 2 nor 3; take one of them.")
    _check_tile_size(tile_size, spatial_dims)
    for name, value in (ranges or {}).items():
        inner = {f"{name}#{key}": pair for key, pair in value.items()} if isinstance(value, Mapping) else {name: value}
        for key, pair in inner.items():
            _check_range(key, pair)
    for name, value in (flags or {}).items():
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} {value!r} is neither True nor False; take one of them.")
    if output_dtype not in TYPES:
        raise ValueError(f"output_dtype {output_dtype!r} is not a voxel type of files; take one of {', '.join(TYPES)}.")
    _check_holds(output_dtype, (ranges or {}).get("target") or {})
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r} is not a whole number from 0 to {2**32 - 1}; take one.")
    if median is not None and not percentiles:
        raise ValueError(
            f"median {median!r} changes nothing without percentiles; take percentiles too, such as [1.0, 99.5], or no "
            "median."
        )
    window = ((ranges or {}).get("source") or {}).get("window", (0, 1))
    if percentiles and ((flags or {}).get("match_kernel") or window[0] < 0):
        raise ValueError(
            f"percentiles {percentiles!r} are for images without a unit, match_kernel and the window {window!r} for "
            "CT in HU; take percentiles with an experiment such as --experiment brain_t1_t2, or leave them out."
        )
    if "sr" in report_formats(report):
        check_highdicom()
    _check_device(device)
    budget, memory = parse_bytes(memory_budget), _memory_of(torch.device(device))
    if budget > memory:
        raise ValueError(
            f"memory_budget {memory_budget!r} is more than the {memory / 2**30:.1f} GiB that the device has; take less."
        )


def report_formats(report: Any) -> tuple[str, ...]:
    """Return the formats of a report without duplicates: json, html, pdf, sr.

    Args:
        report: one format, several separated by commas, or a list of formats; empty or null for none.

    Raises:
        ValueError: If a format is unknown.
    """
    listed = report.split(",") if isinstance(report, str) else report or ()
    if not isinstance(listed, (list, tuple)) or not all(isinstance(each, str) for each in listed):
        raise ValueError(f"report {report!r} is not a list of formats; take one or more of {', '.join(REPORTS)}.")
    formats = tuple(dict.fromkeys(name for each in listed if (name := each.strip().lower())))
    if unknown := [name for name in formats if name not in REPORTS]:
        raise ValueError(f"report {unknown[0]!r} is not a format; take one or more of {', '.join(REPORTS)}.")
    return formats


def check_highdicom() -> None:
    """Check that highdicom is installed, which a structured report needs.

    Raises:
        ValueError: If it is missing; the message says how to install it.
    """
    if find_spec("highdicom") is None:
        raise ValueError(
            "report 'sr' needs highdicom, which is not installed; run pip install 'highdicom>=0.23' (it needs "
            "pydicom 3), or take other formats."
        )


def _check_tile_size(tile_size: Any, dims: int) -> None:
    if tile_size is None:
        return
    sides = tile_size if isinstance(tile_size, (list, tuple)) else [tile_size]
    if not all(map(is_count, sides)) or len(sides) not in (1, dims):
        raise ValueError(
            f"tile_size {tile_size!r} is neither a whole number of voxels from 1 on nor a list of {dims} of them; take "
            "one such as 96, or '$None' to take it from memory_budget."
        )


def _check_range(name: str, pair: Any) -> None:
    """Check that a value is a pair of finite numbers, the lower one first."""
    listed = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    if not listed or not all(map(is_finite, pair)) or not pair[0] < pair[1]:
        raise ValueError(
            f"{name} {pair!r} is not a pair of numbers of which the first is lower; write it like [-1000.0, 200.0]."
        )


def _check_holds(dtype: str, target: Mapping[str, Any]) -> None:
    """Check that a voxel type holds the values of results; others would be clipped."""
    kind, values = getattr(torch, dtype), [value for pair in target.values() for value in pair]
    if kind.is_floating_point or not values:
        return
    if min(values) < torch.iinfo(kind).min or max(values) > torch.iinfo(kind).max:
        raise ValueError(
            f"output_dtype {dtype!r} does not hold the results' values from {min(values):g} to {max(values):g}; take "
            "int16 or float32."
        )


def _check_device(device: Any) -> None:
    """Check that a device is available."""
    try:
        wanted = torch.device(device)
        found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
        there = found[wanted.type] > (wanted.index or 0) or (wanted.type == "cpu")
    except (RuntimeError, TypeError, KeyError):
        there = False
    if not there:
        others = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        others += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(f"device {str(device)!r} is not there; take one of {', '.join(['cpu', *others])}.")


def _memory_of(device: torch.device) -> int:
    """Return the bytes of memory of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return all_memory()
