"""Each image's warnings are shown with its name, and noted without."""

import warnings

from bundle.runtime import begin_notes, noted, warn


def test_the_same_warning_of_each_image_is_shown():
    """By Python's own filters, which show a warning of one place once."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for name in ("a.nii", "b.nii", "b.nii"):
            begin_notes(f"image {name!r}:")
            warn("its kernel is odd.")
            assert noted()["warnings"] == ["its kernel is odd."]
        warn("is soft.", "image 'c.nii'")
    names = [str(each.message) for each in shown]
    assert names == [f"image '{name}.nii': its kernel is odd." for name in "abb"] + ["image 'c.nii' is soft."]
    assert shown[0].filename == __file__
    begin_notes()
