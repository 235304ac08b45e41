"""Values of keys are refused before an image is read, in one line that names key, value and way out."""

import pytest

from bundle.runtime.settings import check_settings, report_formats

HU = {"window": [-1000.0, 200.0], "limits": [-1200.0, 2000.0]}
WRONG = [
    ({"spatial_dims": 4}, "spatial_dims 4 is neither 2 nor 3"),
    ({"spatial_dims": True}, "spatial_dims True is neither"),
    ({"tile_size": 3.5}, "tile_size 3.5 is neither a whole number"),
    ({"tile_size": "abc"}, "tile_size 'abc' is neither"),
    ({"tile_size": True}, "tile_size True is neither"),
    ({"tile_size": [8, 8]}, r"tile_size \[8, 8\] is neither .* nor a list of 3"),
    ({"tile_size": 0}, "tile_size 0 is neither"),
    ({"memory_budget": "100TB"}, "memory_budget '100TB' is more than the .* GiB that the device has"),
    ({"memory_budget": "much"}, "memory size 'much' is not a positive number"),
    ({"device": "cuda:99"}, "device 'cuda:99' is not there; take one of cpu"),
    ({"device": "abacus"}, "device 'abacus' is not there"),
    ({"output_dtype": "int17"}, "output_dtype 'int17' is not a voxel type of files; take one of uint8"),
    ({"output_dtype": "bfloat16"}, "output_dtype 'bfloat16'"),
    ({"seed": -1}, "seed -1 is not a whole number"),
    ({"seed": 1.5}, "seed 1.5"),
    ({"ranges": {"source": {"window": [200, -1000]}}}, r"source#window \[200, -1000\] is not a pair"),
    ({"ranges": {"edges": [5, 5]}}, r"edges \[5, 5\] is not a pair"),
    ({"ranges": {"edges": [1]}}, r"edges \[1\]"),
    ({"ranges": {"edges": "ab"}}, "edges 'ab'"),
    ({"ranges": {"edges": [0, float("nan")]}}, "edges .*nan"),
    ({"flags": {"streaming": "abc"}}, "streaming 'abc' is neither True nor False"),
    ({"flags": {"amp": "no"}}, "amp 'no' is neither True nor False; take one of them"),
    ({"flags": {"densitometry": 1}}, "densitometry 1 is neither"),
    ({"report": "word"}, "report 'word' is not a format; take one or more of json, html, pdf, sr"),
    ({"report": "html,,doc"}, "report 'doc' is not a format"),
    ({"report": ["html", 3]}, r"report \['html', 3\] is not a list of formats"),
    ({"report": True}, "report True is not a list of formats"),
    *(
        (
            {"output_dtype": kind, "ranges": {"target": HU}},
            f"output_dtype '{kind}' does not hold the results' values from",
        )
        for kind in ("uint8", "int8")
    ),
    (
        {"percentiles": [1.0, 99.5], "ranges": {"source": HU}},
        r"percentiles \[1.0, 99.5\] are for images without a unit",
    ),
    (
        {"percentiles": [1, 99], "flags": {"match_kernel": True}},
        "take percentiles with an experiment such as --experiment",
    ),
    *(
        ({"percentiles": value}, r"percentiles .* is not a pair of numbers from 0 to 100 of which the first is lower")
        for value in ([99, 1], [1, 1], [1, 2, 99], [1], 5, "1,99", ["1", 99], [-1, 99], [1, 101], [True, 99])
    ),
    ({"spatial_dims": 2, "flags": {"crop_lungs": True}}, "crop_lungs needs thorax CTs in HU, .* but spatial_dims is 2"),
    ({"percentiles": [1, 99], "flags": {"crop_lungs": True}}, r"crop_lungs needs .* but percentiles is \[1, 99\]"),
    (
        {"ranges": {"source": {"window": [0, 255]}}, "flags": {"crop_lungs": True}},
        r"crop_lungs needs .* but the window \[0, 255\] begins at 0 or above",
    ),
    ({"median": 500.0}, "median 500.0 changes nothing without percentiles; take percentiles too"),
]


@pytest.mark.parametrize(("keys", "told"), WRONG, ids=[str(keys) for keys, _ in WRONG])
def test_a_wrong_value_is_refused(keys, told):
    with pytest.raises(ValueError, match=told) as raised:
        check_settings(**keys)
    assert "take " in str(raised.value) or "write it like" in str(raised.value)


def test_right_values_pass():
    check_settings()
    check_settings(
        3, 96, "64MiB", "cpu", "float32", 7, {"source": {"window": [0, 1.5]}}, {"streaming": None, "a": True}
    )
    check_settings(2, [64, 80], 10**8, flags={"crop_lungs": False})
    check_settings(flags={"crop_lungs": True}, ranges={"source": HU})
    check_settings(percentiles=[1.0, 99.5], median=500.0, ranges={"source": {"window": [0.0, 1000.0]}})
    check_settings(output_dtype="uint8", ranges={"target": {"window": [0.0, 255.0], "limits": [0.0, 255.0]}})
    check_settings(output_dtype="float32", ranges={"source": HU, "target": HU})


def test_formats_of_a_report_are_listed_in_any_way():
    assert report_formats("") == report_formats(None) == report_formats([]) == report_formats(()) == ()
    assert report_formats(" HTML, json,html") == report_formats(("html", "json")) == ("html", "json")
    assert report_formats("sr") == ("sr",)
