"""A user's own catalogue of kernels extends the bundle's, and wins."""

import json
import os

import pytest
import torch

from bundle.scanner.kernels import catalogue, read_kernels
from bundle.transforms import KernelChoice
from bundle.transforms.references import content_of
from tests.scanner.test_edge_spread import SPACING
from tests.transforms.test_kernels_told import calibration

NOTHING = torch.zeros(64, 64, 1)  # in which no kernel can be found


def test_its_names_are_taken_beside_the_bundle_s(tmp_path):
    path = calibration(tmp_path / "kernels.json", "Own soft")
    with pytest.raises(ValueError, match="source_kernel 'Own sharp' is neither"):
        KernelChoice("Own sharp", "Own soft")
    chosen = KernelChoice("Own sharp", "Own soft", catalogue=path)(NOTHING, SPACING)
    assert chosen.conversion == read_kernels(path).conversions[0][2] and chosen.kernel == "Own soft"
    assert "calibrated by the user" in chosen.about
    assert KernelChoice("Own sharp", "B10f", catalogue=path)(NOTHING, SPACING).kernel == "B10f"
    known = KernelChoice("B70f", "B30f", catalogue=path)(NOTHING, SPACING)
    assert known.conversion == catalogue().conversion("B70f", "B30f")


def test_its_entries_win(tmp_path):
    """Also over a conversion of the bundle, which is from another kernel of that name."""
    path = tmp_path / "kernels.json"
    calibration(path, "Own soft", sharp="b70F")
    content = json.loads(path.read_text())
    content["kernels"][0]["gains"] = [min(1.0, 0.9 * gain + 0.1) for gain in content["kernels"][0]["gains"]]
    path.write_text(json.dumps(content))
    choice = KernelChoice("B70f", "B30f", catalogue=str(path))
    assert choice.known.find("B70f") == read_kernels(path).kernels[0] != catalogue().find("B70f")
    found = choice(NOTHING, SPACING).conversion
    assert found != catalogue().conversion("B70f", "B30f") and not found.levels


def test_a_header_that_names_one_of_it_is_believed(tmp_path):
    path = calibration(tmp_path / "kernels.json", "Own soft")
    choice, meta = KernelChoice(target_kernel="Own soft", catalogue=path), {"manufacturer": "SIEMENS"}
    assert choice(NOTHING, SPACING, {**meta, "convolution_kernel": "Own sharp"}).source == "Own sharp"
    for header in ("", "another"):
        with pytest.raises(ValueError, match="target_kernel 'Own soft' cannot be reached: the kernel of the image is"):
            choice(NOTHING, SPACING, {**meta, "convolution_kernel": header})


def test_the_content_counts_for_what_resumes(tmp_path):
    path = tmp_path / "kernels.json"
    settings = []
    for name in ("Own soft", "Other soft"):
        settings.append(KernelChoice("B70f", catalogue=calibration(path, name)).settings())
        assert content_of(str(path)) in settings[-1]
    assert settings[0] != settings[1] != KernelChoice("B70f").settings()


def test_a_reference_that_changes_in_a_subfolder_counts(tmp_path):
    inner = tmp_path / "references" / "patient" / "scan.nii"
    inner.parent.mkdir(parents=True)
    inner.write_bytes(b"1")
    before = content_of(str(tmp_path / "references"))
    os.utime(inner, (1, 1))
    assert content_of(str(tmp_path / "references")) != before


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"kernel_choice#catalogue '.*' is not a file; make one by the run id calibrating"
    ):
        KernelChoice(catalogue=str(tmp_path / "nowhere.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read: its version is not 1"):
        KernelChoice("B70f", catalogue=str(tmp_path / "bad.json"))
