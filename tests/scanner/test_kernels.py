"""The catalogue of kernels, and its file format."""

import json
from dataclasses import replace

import pytest
import torch

from bundle.scanner import Conversion, Transfer
from bundle.scanner.gains import quotient, softening, softening_between
from bundle.scanner.kernels import Kernels, as_json, read_kernels
from bundle.scanner.transfer import sampled

ONE = Transfer((0.0, 0.5, 1.0), (1.0, 0.5, 0.1), (0.0, 0.01, 0.02), "SIEMENS", "B30f", "a phantom")
TWO = Transfer((0.0, 0.5, 1.0), (1.0, 1.2, 0.4), (), "SIEMENS", "B70f", "a phantom")
BOTH = Kernels(
    (ONE, TWO), (("B70f", "B30f", Conversion(Transfer((0.0, 1.0), (1.0, 0.2)), (-1000.0, 0.0), (-4.0, 0.5))),)
)


def test_a_file_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "kernels.json"
    path.write_text(as_json(BOTH), encoding="utf-8")
    found = read_kernels(path)
    assert (found.kernels, found.conversions) == (BOTH.kernels, BOTH.conversions)


def test_every_kernel_of_the_catalogue_has_a_source_and_a_manufacturer():
    found = read_kernels()
    assert {"B30f", "B40f", "B50f", "B70f"} <= {kernel.name for kernel in found.kernels}
    assert all(kernel.source and kernel.manufacturer for kernel in found.kernels)
    assert all(found.find(a) and found.find(b) and each.filter.source for a, b, each in found.conversions)


def test_a_kernel_is_found_as_dicom_writes_it():
    assert BOTH.find("b30F\\3", "SIEMENS Healthineers") == ONE
    assert BOTH.find("B30f", "Philips") is None
    assert BOTH.find("B31f") is None


def test_sharper_kernels_of_the_catalogue_pass_more():
    f = torch.tensor([0.3, 0.4, 0.5], dtype=torch.float64)
    b10, b30, b50, b70 = (read_kernels().find(name).transfer(f) for name in ("B10f", "B30f", "B50f", "B70f"))
    assert (b10 < b30).all() and (b30 < b50).all() and (b50 < b70).all()


def test_a_quotient_is_bounded():
    assert max(quotient(TWO, ONE).gains) == 1
    assert max(quotient(TWO, ONE, most=3.0).gains) == pytest.approx(3.0)


def test_only_what_the_target_enhances_is_enhanced_and_no_noise():
    """The target enhances large structures and, by mistake, fine ones; the quotient is above 1 in between, too.

    What was found in a scan, and so has no name, enhances nothing.
    """
    knots = (0.0, 0.08, 0.16, 0.3, 0.4, 1.0)
    target = Transfer(knots, (1.0, 1.07, 0.98, 1.05, 0.5, 0.1), name="B30f")
    source = Transfer(knots, (1.0, 0.98, 0.9, 0.8, 0.6, 0.5))
    gain = quotient(target, source, 3.0)
    wanted = (1.0, 1.07 / 0.98, 1.0, 1.0, 0.5 / 0.6, 0.2)
    assert sampled(softening(gain, target), knots) == pytest.approx(wanted, abs=0.02)
    assert softening_between(source, target) == softening(gain, target)
    found = softening(gain, replace(target, name=""))
    assert sampled(found, knots) == pytest.approx((1.0, 1.0, *wanted[2:]), abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version is not 1"),
        ({"kernels": "$__import__('os')"}, "not a list of at most"),
        ({"kernels": [{"name": "x", "knots": [0, 1], "gains": [1, "$1"]}]}, "holds what is not a number"),
        ({"kernels": [{"name": "x", "knots": [0, 1], "gains": [1, 1e9]}]}, "holds what is not a number"),
        ({"kernels": [{"name": "x", "knots": [0, 1], "gains": [1, float("nan")]}]}, "NaN is not a number of JSON"),
        ({"kernels": [{"name": "x", "knots": list(range(300)), "gains": [1]}]}, "at most 256 numbers"),
        ({"kernels": [{"name": "\x1b[2J", "knots": [0, 1], "gains": [1, 1]}]}, "not printable text"),
        ({"kernels": [{"name": "x", "knots": [1, 0], "gains": [1, 1]}]}, "do not increase from 0"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path, change, message):
    path = tmp_path / "kernels.json"
    path.write_text(json.dumps({"version": 1, **change}), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_kernels(path)


def test_two_kernels_of_one_name_are_refused(tmp_path):
    """One of them would be taken for the other; another manufacturer's may have the same name."""
    path = tmp_path / "kernels.json"
    for name, manufacturer, refused in (("b30F\\3", "Siemens", True), ("B30f", "Philips", False)):
        path.write_text(as_json(Kernels((ONE, replace(TWO, name=name, manufacturer=manufacturer)))))
        if refused:
            with pytest.raises(
                ValueError, match=r"kernels\.json' cannot be read: it has two kernels 'b30F.* its own name"
            ):
                read_kernels(path)
        else:
            assert len(read_kernels(path).kernels) == 2


def test_a_name_of_several_values_is_found_by_the_first():
    assert Kernels((replace(ONE, name="Br40d\\3"),)).find("Br40d\\3") is not None


def test_a_large_file_is_not_even_read(tmp_path):
    path = tmp_path / "kernels.json"
    path.write_text(" " * (2 << 20), encoding="utf-8")
    with pytest.raises(ValueError, match="bytes, more than"):
        read_kernels(path)
