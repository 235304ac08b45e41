"""A derived series says which kernels its CT was converted between, in memory and streamed alike."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, Orientationd

from bundle.images.derived import Derivation
from bundle.runtime import begin_notes
from bundle.scanner import SHARP
from bundle.scanner.kernels import as_json, read_kernels
from bundle.scanner.uncertainty import uncertainty
from bundle.transforms import (
    FinishImaged,
    KernelChoice,
    LoadImageOrSeriesd,
    MatchKerneld,
    PrepareImaged,
    RoundAndCastd,
    SaveImageAsSourced,
)
from tests.dicom_series import write_series
from tests.images.ways import both_ways
from tests.scanner.test_edge_spread import SPACING, cylinder

ROOT = Path(__file__).parents[2]
AFFINE = np.diag([*SPACING, 1.0])


@pytest.fixture(scope="module")
def volume():
    return cylinder(SHARP).numpy()[..., :3].round().astype(np.int16)


def series(folder, volume, kernel="B70f"):
    def edit(header, **_):
        header.Manufacturer, header.ConvolutionKernel, header.SeriesDescription = "SIEMENS", kernel, "Chest"

    write_series(folder, volume, AFFINE, edit=edit)
    return folder


def translated(source, folder, streaming, choice, runs=1, densitometry=None):
    """Headers of what no network made of a series, its kernel converted."""
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    opening = [LoadImageOrSeriesd("image"), EnsureChannelFirstd("image"), Orientationd("image", "RAS", labels=None)]
    shown = Compose([*opening, MatchKerneld("image", choice=choice)])
    saving = SaveImageAsSourced("pred", folder, densitometry=densitometry)
    finish = Compose([Invertd("pred", shown, "image", nearest_interp=False), RoundAndCastd("pred", "int16"), saving])
    for _ in range(runs):
        prepare = PrepareImaged("image", shown, streaming, folder, match_kernel=True, choice=choice)
        image = prepare({"image": str(source)})["image"]
    if streaming:
        result = image.sibling("result_0", image.shape[2:], image.shape[2:])
        whole = (..., *(slice(0, side) for side in image.shape[2:]))
        result[whole] = image[whole]
        FinishImaged("pred", finish, opening)({"pred": result})
    else:
        pred = MetaTensor(image.clone(), meta=image.meta, applied_operations=image.applied_operations)
        finish({"image": image, "pred": pred})
    return [pydicom.dcmread(file) for file in sorted(folder.glob("*/*.dcm"))]


@both_ways
def test_densitometry_is_told_how_sure_the_kernels_are(tmp_path, volume, streaming):
    told = []
    choice, source = KernelChoice("B70f", "B30f"), series(tmp_path / "ct", volume)
    translated(source, tmp_path / "out", streaming, choice, densitometry=lambda *given: told.append(given[3]))
    wanted = uncertainty(*(read_kernels().find(name) for name in ("B70f", "B30f")))
    assert [kernel["uncertainty"] for kernel in told] == [list(wanted)]


@both_ways
def test_named_kernels_are_told(tmp_path, volume, streaming):
    for header in translated(
        series(tmp_path / "ct", volume), tmp_path / "out", streaming, KernelChoice("B70f", "B30f")
    ):
        assert header.ConvolutionKernel == "B30f"
        assert header.SeriesDescription == "Synthetic soft kernel (B70f to B30f): Chest"
        text = header.DerivationDescription
        assert "kernel converted from B70f (one slice of a chest" in text and " to B30f (" in text
        assert "at 0.4 cycles/mm" in text and text.endswith(". Research only: not for clinical use.")


def test_both_ways_tell_the_same_also_after_an_interruption(tmp_path, volume):
    source, choice = series(tmp_path / "ct", volume), KernelChoice(target_kernel="B30f")
    told = []
    for streaming, runs in ((False, 1), (True, 1), (True, 2)):
        headers = translated(source, tmp_path / f"{streaming}{runs}", streaming, choice, runs)
        told.append([(h.ConvolutionKernel, h.SeriesDescription, h.DerivationDescription) for h in headers])
    assert len(told[0]) == 3 and told[0] == told[1] == told[2]


@both_ways
def test_without_keys_the_header_is_as_it_was(tmp_path, volume, streaming):
    for header in translated(series(tmp_path / "ct", volume), tmp_path / "out", streaming, KernelChoice()):
        assert "ConvolutionKernel" not in header and header.SeriesDescription == "Synthetic soft kernel: Chest"
        assert "kernel converted" not in header.DerivationDescription


def test_uids_follow_from_the_kernels_only_where_there_are_some():
    assert Derivation("a", 1, "w", "v").parts() == ("a", 1, "w", "v")
    assert Derivation(kernels="A to B").parts() != Derivation(kernels="A to C").parts() != Derivation().parts()


def test_a_warning_is_told_each_time_without_the_image_s_name():
    for name in ("Doe_John.nii", "Doe_Jane.nii"):
        begin_notes(f"image {name!r}:")
        with pytest.warns(UserWarning, match=f"image '{name}': the header names the kernel 'B10f'"):
            chosen = KernelChoice(target_kernel="B10f")(cylinder(SHARP), SPACING, {"convolution_kernel": "B10f"})
        assert "; warning: the header names the kernel 'B10f'" in chosen.about and "Doe" not in chosen.about
    begin_notes()


def calibration(path, name, sharp="Own sharp", source="calibrated on Doe_John.nii"):
    """A calibration's file, of other names than the catalogue's."""
    content = json.loads(as_json(read_kernels()))
    first, second = (next(k for k in content["kernels"] if k["name"] == n) for n in ("B70f", "B30f"))
    conversion = next(c for c in content["conversions"] if (c["from"], c["to"]) == ("B70f", "B30f"))
    entries = {**first, "name": sharp, "source": source}, {**second, "name": name, "source": source}
    conversion = {**conversion, "from": sharp, "to": name, "source": source}
    path.write_text(json.dumps({"version": 1, "kernels": entries, "conversions": [conversion]}))
    return str(path)


@pytest.mark.parametrize(
    ("name", "held"), [("Own soft", True), ("Br40d\\3", False), ("x" * 17, False), ("weich\u00e4", False)]
)
def test_a_calibrated_name_is_told_as_far_as_dicom_can(tmp_path, volume, name, held):
    path = calibration(tmp_path / "kernels.json", name)
    for choice in [KernelChoice(path, path), *([KernelChoice("B70f", path)] if held else [])]:
        headers = translated(series(tmp_path / "ct", volume), tmp_path / "out", False, choice)
        assert {header.get("ConvolutionKernel") for header in headers} == {name if held else None}
        text = headers[0].DerivationDescription
        assert "calibrated by the user" in text and "Doe" not in text
        assert len(headers[0].SeriesDescription) <= 64 and len(text) <= 1024


def test_a_reference_is_told_without_its_name(tmp_path, volume):
    source, reference = series(tmp_path / "ct", volume), series(tmp_path / "Doe_John", volume, "other")
    choice = KernelChoice("B70f", str(reference), allow_sharper=True)
    for header in translated(source, tmp_path / "out", False, choice):
        assert "ConvolutionKernel" not in header and "B70f to reference" in header.SeriesDescription
        assert " to reference (edge of the skin" in header.DerivationDescription
        assert "Doe" not in header.DerivationDescription


def test_the_config_writes_the_same_files_both_ways(tmp_path, volume):
    """With a kernel of the user's own catalogue, that the header names."""
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    source, own = series(tmp_path / "ct", volume, "Own sharp"), calibration(tmp_path / "kernels.json", "Own soft")
    made = []
    for streaming in (False, True):
        parser = ConfigParser()
        parser.read_config(str(ROOT / "configs" / "inference.json"))
        given = {"target_kernel": "Own soft", "kernel_choice#catalogue": own, "streaming": streaming, "device": "cpu"}
        folders = {"bundle_root": str(ROOT), "dataset_dir": str(source), "output_dir": str(tmp_path / str(streaming))}
        parser.update({**given, **folders})
        parser.get_parsed_content("evaluator").run()
        files = sorted((tmp_path / str(streaming) / "ct_translated").iterdir())
        assert {pydicom.dcmread(file).ConvolutionKernel for file in files} == {"Own soft"}
        made.append([file.read_bytes() for file in files])
    assert len(made[0]) == 3 and made[0] == made[1]
