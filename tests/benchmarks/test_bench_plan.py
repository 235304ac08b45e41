"""A small case is planned and run; the image of each kind of case is one that the bundle opens."""

import pytest

from benchmarks import plan
from bundle.images import find_images, open_image

SMALL = plan.Case("small.nii.gz", (48, 40, 32), False)


@pytest.mark.parametrize(("name", "shape"), [("a.nii", (9, 8, 7)), ("b", (9, 8, 7)), ("c.png", (40, 30))])
def test_the_images_are_what_their_names_say(tmp_path, name, shape):
    plan.make(str(tmp_path / name), shape, 2.0)
    (found,) = find_images(tmp_path / name)
    assert open_image(found).shape == shape


def test_a_process_that_fails_tells_its_last_line(tmp_path):
    with pytest.raises(RuntimeError, match=r"error: dataset_dir .*none\.nii' does not exist"):
        plan.run(plan.command("planning", SMALL, tmp_path / "none.nii", tmp_path))


@pytest.mark.bench
@pytest.mark.slow
def test_a_plan_and_its_run_are_measured(tmp_path):
    plans, runs = plan.measured(SMALL, tmp_path, turns=1)
    planned, taken, off = plan.compared(plans, runs, "memory")
    assert taken > 2**27 and abs(off) < 0.5 and off == planned / taken - 1
    assert plans[0].processor > 0 < runs[0].processor and plans[0].seconds > 0
