"""The golden cases: what is run, and which kept voxels and header its results are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from tests.golden_inputs import INPUTS
from tests.golden_results import Result, read_results
from tests.golden_run import run_job

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_name("golden")


@dataclass(frozen=True)
class Case:
    """One run of a config on one input.

    Args:
        name: of the case.
        source: name of an input (`tests.golden_inputs`); empty for none.
        voxels: name of the kept voxels, of the first file and its finest scale; others get a number. Cases that name
            the same have to agree.
        header: likewise of the kept headers.
        keys: top-level keys of the config to set.
        overlay: config on top of ``inference``; empty for none.
        run_id: of the config.
        tolerance: how far a voxel may lie from the kept one.
        faults: fields of the header that are wrong today, each with what is right and kept. That they differ is no
            failure; that one does not any more is: then remove it here.
    """

    name: str
    source: str
    voxels: str = ""
    header: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    overlay: str = ""
    run_id: str = "inference"
    tolerance: int = 1
    faults: Mapping[str, Any] = field(default_factory=dict)

    def job(self, inputs: Path, output: Path) -> dict[str, Any]:
        """What `tests.golden_run` runs."""
        given = {"dataset_dir": str(inputs / self.source)} if self.source else {}
        configs = ["inference", *filter(None, [self.overlay])]
        return {"configs": configs, "run_id": self.run_id, "keys": {**given, "output_dir": str(output), **self.keys}}

    @property
    def needs_zarr(self) -> bool:
        """Whether the case reads or writes zarr, on disk or as its result."""
        return bool(self.keys.get("streaming")) or "zarr" in f"{self.source}{self.keys.get('output_ext', '')}"

    def run(self, folder: Path) -> dict[str, Result]:
        """Run the case in a folder, where its input is made if missing, and read its results."""
        inputs, output = folder / "inputs", folder / self.name
        inputs.mkdir(parents=True, exist_ok=True)
        if self.source and not (inputs / self.source).exists():
            INPUTS[self.source](inputs / self.source)
        run_job(ROOT, self.job(inputs, output))
        return read_results(output, ROOT)


STREAMED, TILED = {"streaming": True, "tile_size": 20}, {"tile_size": 20}
TO_ZARR = STREAMED | {"output_ext": ".ome.zarr"}
XRAY: dict[str, Any] = {"overlay": "xray_2d"}
CASES = [
    Case("nii_streamed", "thorax.nii", "thorax", "nii", STREAMED),
    Case("nii", "thorax.nii", "thorax", "nii"),
    Case("nii_tile_20", "thorax.nii", "thorax", "nii", TILED),
    Case("nii_tile_33", "thorax.nii", "thorax", "nii", {"tile_size": 33}),
    Case("nii_gz_streamed", "packed.nii.gz", "thorax", "nii_gz", STREAMED),
    Case("nii_gz", "packed.nii.gz", "thorax", "nii_gz"),
    Case("mha", "thorax.mha", "thorax", "mha"),
    Case("mha_streamed", "thorax.mha", "thorax", "mha", STREAMED),
    Case("nrrd", "thorax.nrrd", "thorax", "nrrd"),
    Case("nrrd_streamed", "thorax.nrrd", "thorax", "nrrd", STREAMED),
    Case("zarr", "thorax.ome.zarr", "thorax", "zarr"),
    Case("zarr_streamed", "thorax.ome.zarr", "thorax", "zarr_streamed", STREAMED),
    Case("dicom", "series", "thorax", "dicom", TILED),
    Case("dicom_streamed", "series", "thorax", "dicom", STREAMED),
    Case("dicom_to_nrrd", "series", "thorax", "dicom_to_nrrd", {"output_ext": ".nrrd"}),
    Case("dicom_to_zarr_streamed", "series", "thorax", "dicom_to_zarr", TO_ZARR),
    Case("turned_streamed", "turned.nii.gz", "turned", "turned", STREAMED),
    Case("turned", "turned.nii.gz", "turned", "turned"),
    Case("crop_lungs", "air.nii", "crop_lungs", "crop_lungs", {"crop_lungs": True}),
    Case("kernel_streamed", "water.nii", "kernel", "kernel", STREAMED),
    Case("kernel", "water.nii", "kernel", "kernel"),
    Case("sketch_streamed", "thorax.nii", "sketch", "nii", STREAMED | {"conditioning": "sketch"}),
    Case("sketch", "thorax.nii", "sketch", "nii", {"conditioning": "sketch"}),
    Case("low_dose_streamed", "thorax.nii", "low_dose", "nii", STREAMED, "low_dose"),
    Case("low_dose", "thorax.nii", "low_dose", "nii", overlay="low_dose"),
    Case("brain", "head.nii.gz", "brain", "brain", TILED, "brain_t1_t2"),
    Case("head", "head.nii.gz", "head", "brain", TILED, "head_t1_t2"),
    Case("png", "chest.png", "xray_8", "png", **XRAY),
    Case("png_streamed", "chest.png", "xray_8", "png", STREAMED, **XRAY),
    Case("tiff", "chest.tif", "xray_16", "tiff", **XRAY),
    Case("tiff_streamed", "chest.tif", "xray_16", "tiff", STREAMED, **XRAY),
    Case("xray_dicom", "chest.dcm", "xray_12", "xray_dicom", **XRAY),
    Case("xray_dicom_streamed", "chest.dcm", "xray_12", "xray_dicom", STREAMED, **XRAY),
    Case(
        "generate", "", "generated", "generated", overlay="generate", run_id="generating",
        keys={"image_size": [190, 130], "num_samples": 2, "seed": 5, "tile_size": 80},
    ),
]  # fmt: skip


def named_arrays(case: Case, results: Mapping[str, Result]) -> dict[str, np.ndarray]:
    """All voxels of a case's results: by the names of the kept ones."""
    arrays = [array for result in results.values() for array in result.voxels]
    return {f"{case.voxels}_{i}" if i else case.voxels: array for i, array in enumerate(arrays)}


def kept_array(name: str) -> np.ndarray | None:
    """Kept voxels; nothing if there are none yet."""
    path = GOLDEN / f"{name}.npz"
    return np.load(path)["voxels"] if path.exists() else None


def kept_headers(name: str) -> dict[str, dict[str, Any]]:
    """Kept headers by file name; empty if there are none yet."""
    path = GOLDEN / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def without_faults(case: Case, headers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Headers by file name, less the fields at fault."""
    return {
        file: {key: value for key, value in header.items() if key not in case.faults}
        for file, header in headers.items()
    }


def voxel_difference(name: str, found: np.ndarray, kept: np.ndarray | None, tolerance: int) -> list[str]:
    """What tells found voxels from the kept ones, in one line; empty if nothing does."""
    if kept is None:
        return [f"voxels {name}: none are kept"]
    if (found.shape, found.dtype) != (kept.shape, kept.dtype):
        return [f"voxels {name}: {kept.dtype} {kept.shape} -> {found.dtype} {found.shape}"]
    apart = np.abs(found.astype(np.int64) - kept)
    count, most = int((apart > tolerance).sum()), int(apart.max())
    more = f"differ by more than {tolerance}, at most {most}"
    return [f"voxels {name}: {count} of {apart.size} {more}"] if count else []


def header_differences(found: Any, kept: Any, where: str = "header") -> list[str]:
    """What tells a found header from the kept one, a line for each field; empty if nothing does."""
    if isinstance(found, dict) and isinstance(kept, dict):
        pairs: list[tuple] = [(key, found.get(key), kept.get(key)) for key in {**kept, **found}]
    elif isinstance(found, list) and isinstance(kept, list) and len(found) == len(kept):
        pairs = list(zip(range(len(kept)), found, kept, strict=True))
    else:
        same = type(found) is type(kept) and found == kept
        return [] if same else [f"{where}: {shorten(json.dumps(kept), 90)} -> {shorten(json.dumps(found), 90)}"]
    return [line for key, *pair in pairs for line in header_differences(pair[0], pair[1], f"{where}: {key}")]


def differences(case: Case, results: Mapping[str, Result]) -> list[str]:
    """What tells results from the kept ones, in lines; empty if nothing does."""
    found = {file: result.header for file, result in results.items()}
    lines = header_differences(without_faults(case, found), without_faults(case, kept_headers(case.header)))
    for file, header in found.items():
        mended = [key for key, right in case.faults.items() if header.get(key) == right]
        lines += [f"header: {file}: {key}: is right now, remove it from the faults of {case.name}" for key in mended]
    for name, array in named_arrays(case, results).items():
        lines += voxel_difference(name, array, kept_array(name), case.tolerance)
    return lines


def keep(case: Case, results: Mapping[str, Result]) -> None:
    """Keep results in place of what is kept; voxels within the tolerance stay, and of fields at fault what is right."""
    GOLDEN.mkdir(exist_ok=True)
    headers = {file: {**result.header, **case.faults} for file, result in results.items()}
    (GOLDEN / f"{case.header}.json").write_text(json.dumps(headers, indent=1, sort_keys=True) + "\n")
    for name, array in named_arrays(case, results).items():
        if voxel_difference(name, array, kept_array(name), case.tolerance):
            np.savez_compressed(GOLDEN / f"{name}.npz", voxels=array)
