"""An image that fails does not end the others; what is not an image's fault ends the run."""

from types import SimpleNamespace

import pytest
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose
from torch import nn

from bundle.runtime import afterwards, fault
from bundle.runtime.each import run_each
from bundle.runtime.errors import last_line

IMAGES = ["a.nii", "bad.nii", "c.nii", "worse.nii", "e.nii"]


def evaluator(images, done, fails_in="reading"):
    """An evaluator that notes what it has done."""

    def read(item):
        if fails_in == "reading" and "a.nii" not in item["image"] and len(item["image"]) > 5:
            raise ValueError(f"image {item['image']!r} cannot be read; take another.")
        return item

    def infer(batch):
        if fails_in == "inferring" and len(batch["image"][0]) > 5:
            raise RuntimeError("out of memory")
        done.append(batch["image"][0])
        return batch

    loader = DataLoader(Dataset([{"image": path} for path in images], read), batch_size=1, num_workers=0)
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=loader,
        network=nn.Identity(),
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        iteration_update=lambda _, batch: infer(batch),
        decollate=False,
    )


@pytest.mark.parametrize("fails_in", ["reading", "inferring"])
def test_good_images_are_done(fails_in, capsys):
    done: list[str] = []
    engine = evaluator(IMAGES, done, fails_in)
    with pytest.raises(SystemExit) as ended:
        run_each(engine)
    assert ended.value.code == 1
    assert done == ["a.nii", "c.nii", "e.nii"]
    lines = capsys.readouterr().err.splitlines()
    cause = "cannot be read" if fails_in == "reading" else "out of memory"
    assert [("bad.nii" in line, "worse.nii" in line, cause in line) for line in lines[-3:-1]] == [
        (True, False, True),
        (False, True, True),
    ]
    assert lines[-1] == "error: 2 of 5 images failed, see the lines above; the other 3 are done."


def test_all_good_images_are_done_once_and_the_only_one_s_failure_is_raised():
    done: list[str] = []
    run_each(evaluator(["a.nii", "c.nii"], done))
    assert done == ["a.nii", "c.nii"]
    with pytest.raises(RuntimeError, match="applying transform") as raised:
        run_each(evaluator(["worse.nii"], done))
    assert last_line(raised.value) == "error: image 'worse.nii' cannot be read; take another."


class Reading:
    """A preparation that does nothing."""

    series_uid = "1.2"

    def __init__(self):
        self.finishing = SimpleNamespace()

    def __call__(self, item):
        return item


class Found:
    """What is closed at the end."""

    closed = 0

    def __init__(self, images=()):
        self.images = images

    def __getitem__(self, _):
        return self.images

    def close(self):
        self.closed += 1


def test_what_holds_the_images_is_closed_whatever_happens():
    for images, error in ((["a.nii"], None), (IMAGES, SystemExit), (["worse.nii"], RuntimeError)):
        found = Found()
        if error:
            with pytest.raises(error):
                run_each(evaluator(images, []), found=found)
        else:
            run_each(evaluator(images, []), found=found)
        assert found.closed


def test_what_is_missing_beside_results_that_exist_is_made_first():
    done: list[str] = []
    engine = evaluator(["a.nii", "c.nii"], done)
    reading = Reading()
    reading.finishing.add_missing = lambda image, uid: afterwards(lambda: done.append(f"report of {image}, {uid}"))
    engine.data_loader.dataset.transform = Compose([reading])
    run_each(engine, found=Found(["a.nii", "b.nii", "c.nii"]))
    assert done == ["a.nii", "c.nii", "report of b.nii, 1.2"]


def test_what_is_no_image_s_fault_ends_the_run(capsys):
    done: list[str] = []
    engine = evaluator(IMAGES, done)

    @engine.on(Events.STARTED)
    def load() -> None:
        raise FileNotFoundError("weights 'model.pt' do not exist")

    with pytest.raises(FileNotFoundError, match=r"model\.pt"):
        run_each(engine)
    assert done == []
    assert "failed" not in capsys.readouterr().err


class Told:
    """What is told of failures."""

    def __init__(self, error=None):
        self.images, self.error = [], error

    def failed(self, image, cause):
        if self.error:
            raise self.error
        self.images.append((image, cause.split(";")[0]))


def test_failures_are_told_to_a_table(capsys):
    table = Told()
    with pytest.raises(SystemExit):
        run_each(evaluator(IMAGES, []), summary=table)
    assert table.images == [(name, f"image {name!r} cannot be read") for name in ("bad.nii", "worse.nii")]
    with pytest.raises(SystemExit):
        run_each(evaluator(IMAGES, []), summary=Told(OSError("disk full")))
    lines = capsys.readouterr().err.splitlines()
    assert "failed: no row of 'bad.nii': disk full" in lines
    assert lines[-1] == ("error: 2 of 5 images failed, see the lines above; the other 3 are done, but not 2 reports.")


def test_what_is_done_afterwards_keeps_no_image_waiting():
    done: list[str] = []
    engine = evaluator(["a.nii", "c.nii"], done)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: afterwards(lambda: done.append("report")))
    run_each(engine)
    assert done == ["a.nii", "c.nii", "report", "report"]
    afterwards(lambda: done.append("at once"))
    assert done[-1] == "at once"


def test_it_is_done_for_the_good_ones_of_several_and_not_after_an_interruption():
    done: list[str] = []
    engine = evaluator(IMAGES, [])
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: afterwards(lambda: done.append("report")))
    with pytest.raises(SystemExit):
        run_each(engine)
    assert len(done) == 3

    engine = evaluator(["a.nii", "c.nii"], [])

    @engine.on(Events.ITERATION_COMPLETED)
    def interrupt() -> None:
        afterwards(lambda: done.append("late"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_each(engine)
    assert "late" not in done


def test_what_fails_beside_a_result_ends_with_status_1(capsys):
    engine = evaluator(["a.nii"], [])
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: fault("no report of 'a.nii': disk full"))
    with pytest.raises(SystemExit) as ended:
        run_each(engine)
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "failed: no report of 'a.nii': disk full",
        "error: 1 report failed, see the lines above; all results are whole.",
    ]
    run_each(evaluator(["a.nii"], []))  # an earlier run's failures are not this one's
