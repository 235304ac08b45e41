"""The plan of the trainings with each patient left out once."""

from pathlib import Path

import pytest

from benchmarks.heads import PATIENTS, main, trainings


@pytest.mark.parametrize("patient", PATIENTS)
def test_no_training_of_a_patient_sees_an_image_of_the_patient(patient):
    for training in trainings(PATIENTS[patient], Path("out")):
        assert set(PATIENTS[patient]) <= set(training.held_out)


def test_the_images_of_one_patient_at_two_times_are_left_out_together():
    plan = list(trainings(PATIENTS["openms_long_p121"], Path("out")))
    assert plan and all(training.held_out == ("openms_long_p121", "openms_long_p122") for training in plan)


def test_a_scale_comes_after_those_below_it(tmp_path):
    done = set()
    for training in trainings(PATIENTS["stroke_cstar"], tmp_path):
        if training.folder.name != "patch":
            assert {(training.folder, scale) for scale in range(training.scale)} <= done
        done.add((training.folder, training.scale))
    assert len(done) == 3


def test_what_is_finished_is_not_trained_again(tmp_path):
    training = next(trainings(PATIENTS["openms_p07"], tmp_path))
    training.folder.mkdir()
    assert not training.finished()
    (training.folder / "scale_0.pt").touch()
    assert training.finished()
    (training.folder / "resume_0_checkpoint_epoch=3.pt").touch()
    assert not training.finished()


def test_an_unknown_patient_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"openms_p070.*take one of openms_p07, "):
        main(str(tmp_path), str(tmp_path / "out"), only="openms_p070")
