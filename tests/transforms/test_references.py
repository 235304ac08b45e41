"""The kernel that the headers of reference scans name, and the one found in the scans."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from bundle.images import Volume
from bundle.runtime import begin_notes, noted
from bundle.scanner import SHARP, SOFT
from bundle.scanner.kernels import catalogue
from bundle.transforms import KernelChoice, references
from tests.dicom_series import write_series
from tests.scanner.test_edge_spread import SPACING, cylinder

AFFINE = np.diag([*SPACING, 1.0])
NOTHING = torch.zeros(64, 64, 1)  # in which no kernel can be found


@pytest.fixture(scope="module")
def soft():
    return cylinder(SOFT, slices=3).numpy().round().astype(np.int16)


def series(folder, volume, kernel, manufacturer="SIEMENS", uid="1.2.3.4"):
    def edit(header, **_):
        header.Manufacturer, header.ConvolutionKernel = manufacturer, kernel

    write_series(folder, volume, AFFINE, series=uid, edit=edit)
    return str(folder)


def target(path, source="B70f"):
    return KernelChoice(source, path)(NOTHING, SPACING)


def test_the_kernel_of_the_header_is_the_target_where_the_scan_agrees(soft, tmp_path):
    """With all that the catalogue knows of it: the same conversion as by name, and the name in the result."""
    path = series(tmp_path / "soft", soft, "B40f\\3")
    chosen = target(path)
    assert chosen.kernel == chosen.target == "B40f"
    assert chosen.conversion == target("B40f").conversion == catalogue().conversion("B70f", "B40f")


@pytest.mark.parametrize("kernel, manufacturer", [("", "SIEMENS"), ("B40f", "another"), ("unheard of", "SIEMENS")])
def test_without_a_known_name_it_is_found_in_the_scan(soft, tmp_path, kernel, manufacturer):
    chosen = target(series(tmp_path / "soft", soft, kernel, manufacturer))
    assert (chosen.target, chosen.kernel) == ("reference", "")


def test_a_reference_of_the_source_counts_likewise(soft, tmp_path):
    """Named by its header, or found in it; where neither is, its key is told."""
    assert KernelChoice(series(tmp_path / "named", soft, "B40f"), "B10f")(NOTHING, SPACING).source == "B40f"
    found = KernelChoice(series(tmp_path / "Doe_John", soft, ""), "B10f", True)(NOTHING, SPACING)
    assert (found.source, found.target) == ("reference", "B10f")
    assert "from reference (edge of the skin" in found.about and "Doe" not in found.about
    path = series(tmp_path / "inside", soft[110:140, 110:140], "")
    with pytest.raises(ValueError, match=r"source_kernel '.*inside' shows too little skin"):
        KernelChoice(path, "B10f")(NOTHING, SPACING)


def test_a_reference_is_read_once_until_it_changes(soft, tmp_path, monkeypatch):
    path, read = tmp_path / "soft.nii", []
    nibabel.save(nibabel.Nifti1Image(soft, AFFINE), path)
    choice = KernelChoice("B70f", str(path))
    monkeypatch.setattr(references, "content_hash", read.append)
    monkeypatch.setattr(references, "Volume", lambda image: read.append(image) or Volume(image))
    for changed in (1, 1, 2):
        os.utime(path, (changed, changed))
        choice(NOTHING, SPACING)
    assert read == [str(path)] * 2


def test_a_reference_that_is_one_file_of_a_series_changes_with_the_others(soft, tmp_path):
    """It is taken whole, so results are made anew, and the kernel is found anew; other files do not count."""
    folder = Path(series(tmp_path / "soft", soft, ""))
    one, other, _ = sorted(folder.iterdir())
    choice = KernelChoice("B70f", str(one))
    before, kernel = choice.settings(), choice.given["target_kernel"].kernel
    (folder / "result.nii").touch()
    assert choice.settings() == before and choice.given["target_kernel"].kernel is kernel
    os.utime(other, (1, 1))
    assert choice.settings() != before and choice.given["target_kernel"].kernel is not kernel


def test_a_scan_that_differs_from_its_header_counts_itself(soft, tmp_path):
    path = series(tmp_path / "soft", soft, "B70f")
    choice = KernelChoice("B70f", path)
    for _ in range(2):  # images
        begin_notes()
        with pytest.warns(UserWarning, match="header of the reference names the kernel 'B70f', but the scan differs"):
            chosen = choice(NOTHING, SPACING)
        assert chosen.target == "reference" and "but the scan differs" in chosen.about
        assert len(noted()["warnings"]) == 1


def test_a_name_is_enough_where_nothing_can_be_found(tmp_path):
    inside = cylinder(SHARP, slices=3).numpy().round().astype(np.int16)[110:140, 110:140]
    assert target(series(tmp_path / "named", inside, "B30f")).kernel == "B30f"
    with pytest.raises(ValueError, match="shows too little skin and flat tissue"):
        target(series(tmp_path / "unnamed", inside, ""))


def test_scans_of_several_kernels_are_refused(soft, tmp_path):
    for name in ("B30f", "B50f"):
        series(tmp_path / "both" / name, soft, name, uid=f"1.2.3.{name[1]}")
    with pytest.raises(ValueError, match=r"holds scans of several kernels \(B30f, B50f\)"):
        target(str(tmp_path / "both"))


def test_one_name_of_two_manufacturers_is_no_kernel(soft, tmp_path):
    for name in ("SIEMENS", "another"):
        series(tmp_path / "both" / name, soft, "B40f", name, uid=f"1.2.3.{len(name)}")
    assert target(str(tmp_path / "both")).target == "reference"


@pytest.mark.parametrize("key", ["source_kernel", "target_kernel"])
def test_what_cannot_be_found_is_told_with_the_key_that_gives_it(soft, tmp_path, key):
    for uid in ("1.2.3.4", "1.2.3.5"):
        series(tmp_path / "several", soft[:, :, :2], "B40f", uid=uid)
    file = str(sorted((tmp_path / "several").iterdir())[0])
    (tmp_path / "empty").mkdir()
    kernels = {"source_kernel": "B70f", "target_kernel": "B40f"}
    for value, message in ((file, "is a file of a folder with several"), (str(tmp_path / "empty"), "holds no image")):
        with pytest.raises((ValueError, FileNotFoundError), match=f"^{key} '{value}' {message}"):
            KernelChoice(**{**kernels, key: value})(NOTHING, SPACING)
    with pytest.raises(
        ValueError, match=r"1\.2\.3\.5 .* No key chooses one here: give a folder that holds one"
    ) as told:
        KernelChoice(**{**kernels, key: str(tmp_path / "several")})(NOTHING, SPACING)
    assert "series_uid" not in str(told.value)  # which chooses the series of the image
