"""An image that fails does not end the others; what is no image's fault ends the run."""

import pytest
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch import nn

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


class Found:
    """What is closed at the end."""

    closed = 0

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
