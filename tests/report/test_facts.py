"""What a report tells is what is in the images, and in the provenance as far as that is plain data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bundle.images import Volume, held
from bundle.report.facts import facts_of, noise_facts
from bundle.report.kernels import curve, kernel_facts, read_kernel
from bundle.report.noise_power import deviation_of, flat_places, patch_power
from bundle.scanner import SOFT, Kernel
from bundle.scanner.kernels import catalogue
from bundle.transforms.densitometry import measured
from tests.report.images import FOUND, SPACING, TOLD, chest, volume


def test_facts_of_a_chest_that_one_can_count():
    source, result = chest(-870), chest()
    facts = facts_of(volume(source), volume(result), True, provenance=TOLD)
    lungs = facts["densitometry"]
    assert (lungs["before"]["right"]["mean_hu"], lungs["after"]["right"]["mean_hu"]) == (-870, -860)
    assert lungs["after"]["left"]["laa950_percent"] == 10 and lungs["interval_95"] is None
    assert facts["shape"] == [80, 60, 24] and facts["spacing_mm"] == [4.0, 4.0, 3.0]
    assert facts["warnings"] == ["the slices are thick."] and facts["provenance"]["seconds"] == 12.5
    change = (result - source.astype(float))[..., np.unique(np.linspace(0, 23, 16).astype(int))]
    assert facts["values"]["difference"]["mean"] == pytest.approx(change.mean(), abs=1e-3)
    assert facts["values"]["difference"]["mean_absolute"] == pytest.approx(np.abs(change).mean(), abs=1e-3)
    assert facts["values"]["difference"]["deviation"] == pytest.approx(change.std(), abs=1e-3)


def test_no_name_is_told():
    told = str(facts_of(volume(chest(), path="DOE_JANE.nii"), volume(chest(), path="DOE_JANE_t.nii"), True))
    assert "DOE" not in told and ".nii" not in told


def test_the_truth_is_measured_in_the_mask_of_the_result():
    facts = facts_of(volume(chest(-900)), volume(chest()), True, truth=volume(chest(-850)))
    assert facts["densitometry"]["truth"]["right"]["mean_hu"] == -850
    assert facts["densitometry"]["truth"]["both"]["volume_ml"] == facts["densitometry"]["after"]["both"]["volume_ml"]


def test_densities_that_are_known_are_not_measured_again(monkeypatch):
    source, result = volume(chest()), volume(chest())
    known = measured(source, result)
    monkeypatch.setattr("bundle.report.facts.measured", None)
    assert facts_of(source, result, True, densities=known)["densitometry"]["after"] == known["after"]


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"result 'scan.nii' has \(80, 60, 23\) voxels, its source 'scan.nii' \(80"):
        facts_of(volume(chest()), volume(chest()[..., 1:]), True)
    with pytest.raises(ValueError, match="its truth"):
        facts_of(volume(chest()), volume(chest()), True, truth=volume(chest()[..., 1:]))


def test_images_that_lie_elsewhere_are_refused_and_flipped_files_are_not():
    affine = np.diag([*SPACING, 1.0])
    moved, thicker, turned = affine.copy(), np.diag([4.0, 4.0, 3.1, 1.0]), np.diag([-4.0, -4.0, 3.0, 1.0])
    moved[2, 3] = 60
    turned[:2, 3] = 79 * 4, 59 * 4
    for place, shift in ((moved, "60"), (thicker, "2.3")):
        other = Volume(held(chest(), place, "truth.nii"))
        with pytest.raises(ValueError, match=rf"its truth 'truth\.nii' lie {shift} mm apart; all must lie on one"):
            facts_of(volume(chest()), volume(chest()), True, truth=other)
        with pytest.raises(ValueError, match=r"its source 'truth\.nii' lie"):
            facts_of(other, volume(chest()), True)
    same = Volume(held(chest(-850)[::-1, ::-1], turned))
    told = facts_of(volume(chest()), volume(chest()), True, truth=same)
    assert told["densitometry"]["truth"]["right"]["mean_hu"] == -850


@pytest.mark.parametrize("voxels", [np.full((80, 60, 24), 40, np.int16), chest()[..., :1]])
def test_without_lungs_there_is_no_densitometry(voxels):
    facts = facts_of(volume(voxels), volume(voxels), True)
    assert facts["densitometry"] is None
    assert facts["warnings"][0] == "no lung was found: all densities are null"


def test_other_images_get_what_applies():
    picture = chest()[..., 5]
    facts = facts_of(volume(picture), volume(picture), False)
    assert (facts["kernel"], facts["noise"], facts["densitometry"], facts["unit"]) == (None, None, None, None)
    assert facts["shape"] == [80, 60] and facts["values"]["difference"]["mean_absolute"] == 0
    facts = facts_of(volume(chest()), volume(chest()), False, comparable=False)
    assert "difference" not in facts["values"] and facts["values"]["before"] == facts["values"]["after"]
    facts = facts_of(None, volume(picture), False)
    assert "before" not in facts["values"] and facts["provenance"] is None


def test_only_slices_are_read():
    """Of a CT whose densities are known, three at most at once, and as many, however large it is."""
    thickness = []

    def read(window):
        thickness.append(window[2].stop - window[2].start)
        generator = np.random.default_rng(window[2].start)
        return generator.normal(40, 10, [part.stop - part.start for part in window]).astype(np.float32)

    known, counts = measured(volume(chest()), volume(chest())), []
    for depth in (2000, 8000):
        thickness.clear()
        image = replace(held(np.broadcast_to(np.int16(0), (96, 96, depth)), np.eye(4)), read=read)
        assert facts_of(Volume(image), Volume(image), True, densities=known)["noise"]["patches"] == 200
        assert set(thickness) == {1, 3}  # an edge is looked at with the slices beside it
        counts.append(len(thickness))
    assert counts[1] <= 1.1 * counts[0] < 2000


# Kernels


def gains(curves, end):
    (found,) = [each for each in curves["curves"] if each["of"] == end]
    return found


def test_the_kernels_of_the_provenance_are_shown():
    plain = volume(chest())
    told = kernel_facts(TOLD["kernel"], plain, plain)
    frequencies = torch.tensor(told["frequencies_per_mm"], dtype=torch.float64)
    for end, kernel in (("source", Kernel(**FOUND)), ("target", SOFT)):
        assert gains(told, end)["gains"] == pytest.approx(kernel.transfer(frequencies).tolist(), abs=1e-4)
    assert gains(told, "target")["from"] == "the bundle's soft kernel"
    named = kernel_facts({"source": "B70f", "target": "B30f", "about": "x", "found": None}, plain, plain)
    for end, name in (("source", "B70f"), ("target", "B30f")):
        known = catalogue().find(name).transfer(frequencies).tolist()
        assert gains(named, end)["gains"] == pytest.approx(known, abs=1e-4)
        assert gains(named, end)["from"] == f"{name} of the catalogue"


def test_no_target_is_told_where_no_kernel_was_found():
    """The image was left as it is, so the report does not say that it has the soft kernel."""
    none = {"source": None, "target": None, "about": "the kernel is not known", "found": None, "uncertainty": None}
    facts = kernel_facts(none, volume(chest()), volume(chest()))
    assert facts is None or {each["of"] for each in facts["curves"]} <= {"source"}


def test_a_kernel_of_the_user_s_is_not_taken_for_one_of_the_catalogue():
    told = {"source": "B70f", "target": "B30f", "about": "kernel converted (calibrated by the user)", "found": None}
    assert kernel_facts(told, volume(chest()), volume(chest()))["curves"] == []


def test_without_kernels_there_is_no_curve():
    assert kernel_facts(None, volume(chest()), volume(chest())) is None


@pytest.mark.parametrize(
    "found",
    [
        None,
        "Kernel",
        {},
        {**FOUND, "half": "exit()"},
        {**FOUND, "half": float("nan")},
        {**FOUND, "order": 1e9},
        {**FOUND, "position": 0},
        {key: FOUND[key] for key in ("half", "order")},
    ],
)
def test_what_is_no_kernel_in_a_file_is_none(found):
    assert read_kernel(found) is None


def test_the_frequency_of_half_the_gain_is_between_points():
    kernel = Kernel(half=0.5, order=2.0)
    assert curve(kernel, np.arange(0, 1, 0.02))["half_gain_per_mm"] == pytest.approx(0.5, abs=1e-3)
    assert curve(kernel, np.arange(0, 0.4, 0.02))["half_gain_per_mm"] is None


# Noise


def test_noise_is_that_of_the_image():
    generator = np.random.default_rng(0)
    source, result = (generator.normal(50, std, (240, 240, 4)).astype(np.float32) for std in (30, 10))
    images = [volume(voxels, (0.5, 0.5, 1.0)) for voxels in (source, result)]
    places = flat_places(images[1])
    assert deviation_of(patch_power(images[0], places), (0.5, 0.5)) == pytest.approx(30, rel=0.05)
    told = noise_facts(*images)
    assert told["before"]["deviation_hu"] == pytest.approx(30, rel=0.05)
    assert told["after"]["deviation_hu"] == pytest.approx(10, rel=0.05)
    ratio = np.divide(told["before"]["power_hu2_mm2"], told["after"]["power_hu2_mm2"])
    assert ratio[3:] == pytest.approx(9, rel=0.2)
