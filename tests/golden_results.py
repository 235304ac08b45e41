"""Results of the golden cases as nibabel, ITK, pydicom, zarr and Pillow read them: voxels, and the rest as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pydicom
from PIL import Image

from tests.results import results_in

#: Digits of numbers after the point, in mm where they are lengths.
DIGITS = 5


@dataclass(frozen=True)
class Result:
    """One file or folder of results."""

    #: The finest scale first, `(x, y)` or `(x, y, z)`.
    voxels: tuple[np.ndarray, ...]
    #: All but the voxels, as JSON has it.
    header: dict[str, Any]


def read_results(folder: Path, root: Path) -> dict[str, Result]:
    """All that a folder holds, by name.

    Args:
        folder: ``output_dir`` of a case.
        root: folder of the bundle, whose version and weights are put as ``<version>`` and ``<file name>``.
    """
    names = {hashlib.sha256(file.read_bytes()).hexdigest(): file.name for file in (root / "models").glob("*.pt")}
    names[json.loads((root / "configs" / "metadata.json").read_text())["version"]] = "version"
    return {path.name: _plain(read_result(path), names) for path in results_in(folder)}


def read_result(path: Path) -> Result:
    """Read one result.

    Raises:
        ValueError: If the path is not in a format of the golden cases.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if path.name.endswith((".mha", ".nrrd")):
        return _read_itk(path)
    if path.name.endswith(".zarr"):
        return _read_zarr(path)
    if path.name.endswith((".png", ".tif")):
        return _read_picture(path)
    if path.name.endswith(".dcm") or (path.is_dir() and any(path.glob("*.dcm"))):
        return _read_dicom(path)
    raise ValueError(f"{path} is not a result of a golden case.")


def _plain(result: Result, names: dict[str, str]) -> Result:
    """A result whose header is as JSON reads it again, its numbers rounded, with names for what changes."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, float):
            return round(value, DIGITS) + 0.0  # and no -0.0
        if isinstance(value, str):
            for text, name in names.items():
                value = value.replace(text, f"<{name}>")
        return value

    return Result(result.voxels, plain(result.header))


def _told(voxels: np.ndarray) -> dict[str, Any]:
    return {"shape": list(voxels.shape), "dtype": str(voxels.dtype)}


def _read_nifti(path: Path) -> Result:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    header, voxels = image.header, np.asanyarray(image.dataobj)
    kept = ("descrip", "aux_file", "intent_code", "intent_name", "cal_min", "cal_max", "toffset", "slice_code", "magic")
    fields = {name: header[name].item() for name in kept}
    fields = {name: value.decode() if isinstance(value, bytes) else value for name, value in fields.items()}
    more = {
        "stored_dtype": str(header.get_data_dtype()),
        "slope_inter": [float(image.dataobj.slope), float(image.dataobj.inter)],  # type: ignore[attr-defined]
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
        "qform": image.get_qform().tolist(),
        "zooms": [float(side) for side in header.get_zooms()],
        "units": list(header.get_xyzt_units()),
        "extensions": len(header.extensions),
    }
    return Result((voxels,), _told(voxels) | {"affine": image.affine.tolist()} | more | fields)


def _read_itk(path: Path) -> Result:
    picture = itk.imread(str(path))
    voxels = np.ascontiguousarray(itk.array_from_image(picture).T)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(picture.GetDirection()) * np.asarray(picture.GetSpacing())
    affine[:3, 3] = np.asarray(picture.GetOrigin())
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return Result((voxels,), _told(voxels) | {"affine": to_ras.tolist()})


def _read_zarr(path: Path) -> Result:
    """Every level, and where it lies: `origin`, of the finest, and `shifts` from there in mm, z, y, x."""
    import zarr

    group = zarr.open_group(store=str(path), mode="r")
    attributes = json.loads(json.dumps(dict(group.attrs)))
    (scales,) = attributes["ome"]["multiscales"]
    origins, levels, arrays = [], [], []
    for level in scales["datasets"]:
        array: Any = group[level["path"]]
        levels.append(np.ascontiguousarray(array[...].T))
        arrays.append([str(array.dtype), list(array.chunks), list(array.metadata.dimension_names or ())])
        steps = level.pop("coordinateTransformations")
        level["scale"] = [step["scale"] for step in steps if step["type"] == "scale"]
        origins.append(np.sum([step["translation"] for step in steps if step["type"] == "translation"], 0))
    about = {"shapes": [list(level.shape) for level in levels], "arrays": arrays}
    about |= {"origin": origins[0].tolist(), "shifts": [(origin - origins[0]).tolist() for origin in origins]}
    return Result(tuple(levels), about | attributes)


def _read_picture(path: Path) -> Result:
    with Image.open(path) as picture:
        voxels, mode, form = np.ascontiguousarray(np.asarray(picture).T), picture.mode, picture.format
        exif = picture.getexif() if form == "TIFF" else {}
        # bits, photometric interpretation, samples, pixels along columns and rows a unit, the unit, kind of number
        tags = {str(tag): float(exif[tag]) for tag in (258, 262, 277, 282, 283, 296, 339) if tag in exif}
        about = {"mode": mode, "format": form, "tags": tags} | _told(voxels)
    return Result((voxels,), about)


#: Hashes of the pixels, among other things: these change with the last digit of a voxel.
OWN_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")


def _read_dicom(path: Path) -> Result:
    """A series in the order of its positions, or one image, with all that its headers say; high is bright."""
    files = [path] if path.is_file() else list(path.iterdir())
    slices = [(pydicom.dcmread(file), file.name) for file in files]
    slices.sort(key=lambda one: float(one[0].get("ImagePositionPatient", [0])[-1]))
    first = slices[0][0]
    stored = np.stack([np.ascontiguousarray(ds.pixel_array.T) for ds, _ in slices], -1)
    if first.PhotometricInterpretation == "MONOCHROME1":
        stored = 2**first.BitsStored - 1 - stored
    voxels = stored if path.is_dir() else stored[..., 0]
    told = [_attributes(ds) | ({"file": name} if path.is_dir() else {}) for ds, name in slices]
    common = {key: value for key, value in told[0].items() if all(other.get(key) == value for other in told)}
    uids = {
        "images": len({ds.SOPInstanceUID for ds, _ in slices}),
        "series": len({ds.SeriesInstanceUID for ds, _ in slices}),
        "meta_agrees": all(ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID for ds, _ in slices),
        "of_the_source": any(ds[name].value.startswith("1.2.3.4") for ds, _ in slices for name in OWN_UIDS),
    }
    own = [{key: value for key, value in one.items() if key not in common} for one in told]
    return Result((voxels,), _told(voxels) | {"uids": uids, "attributes": common, "slices": own})


def _attributes(dataset: pydicom.Dataset, where: str = "") -> dict[str, str]:
    """What a header says, by keyword and place in sequences, but for the pixels and UIDs that follow from them."""
    meta = [dataset.file_meta["TransferSyntaxUID"]] if hasattr(dataset, "file_meta") else []
    out: dict[str, str] = {}
    for element in (*meta, *dataset):
        name = where + (element.keyword or str(element.tag))
        if element.VR == "SQ":
            out[name] = f"SQ {len(element.value)}"
            for i, item in enumerate(element.value):
                out |= _attributes(item, f"{name}[{i}].")
        elif name != "PixelData" and name not in OWN_UIDS:
            parts = element.value if element.VM > 1 else [element.value]
            out[name] = f"{element.VR} " + "\\".join("" if part is None else str(part) for part in parts)
    return out
