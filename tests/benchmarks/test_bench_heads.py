"""The plan of the trainings with each patient left out once."""

from pathlib import Path

import pytest

from benchmarks.heads import PATIENTS, main, trainings

NAMES = sorted([name for group in PATIENTS.values() for name in group] + ["brainweb_sim"])


@pytest.mark.parametrize("start", [None, "weights.pt"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_no_training_of_a_patient_sees_an_image_of_the_patient(patient, start):
    for training in trainings(NAMES, PATIENTS[patient], Path("out"), start):
        assert set(PATIENTS[patient]) <= set(training.held_out)


@pytest.mark.parametrize("patient", PATIENTS)
def test_each_image_has_a_previous_scale_by_a_training_that_has_not_seen_its_patient(patient):
    plan = list(trainings(NAMES, PATIENTS[patient], Path("out")))
    folders = {str(training.folder): set(training.held_out) for training in plan}
    for training in plan:
        for name in set(NAMES) - set(training.held_out):
            group = next((group for group in PATIENTS.values() if name in group), [name])
            unseen = [folders[folder] for folder in training.keys.get("cross_fitting", [])]
            assert not unseen or any(set(group) <= held for held in unseen)


def test_a_training_comes_after_those_that_it_builds_on(tmp_path):
    done = set()
    for training in trainings(NAMES, PATIENTS["stroke_cstar"], tmp_path):
        below = [training.copied] if training.copied else [training.folder] * (training.folder.name != "patch")
        needed = {(folder, scale) for folder in below for scale in range(training.scale)}
        needed |= {(Path(f), s) for f in training.keys.get("cross_fitting", []) for s in range(training.scale)}
        assert needed - {(tmp_path / f"soft_{half}", 0) for half in (0, 1)} <= done
        done.add((training.folder, training.scale))


@pytest.mark.parametrize("patient", ["openms_long_p041", "openms_long_p121"])
def test_previous_scales_of_heads_with_skull_come_from_a_training_without_any(patient, tmp_path):
    plan = list(trainings(NAMES, PATIENTS[patient], tmp_path / patient, "weights.pt"))
    for training in plan:
        for folder in training.keys.get("cross_fitting", []):
            (other,) = {each.held_out for each in plan if str(each.folder) == folder}
            assert {name for name in NAMES if name.startswith("openms_long")} == set(other)
            before = plan[: plan.index(training)]
            assert all(any(str(e.folder) == folder and e.scale == s for e in before) for s in range(training.scale))


def test_weights_that_have_seen_a_patient_are_not_started_from(tmp_path):
    with pytest.raises(ValueError, match="take one of openms_long_p041, openms_long_p121"):
        main(str(tmp_path), str(tmp_path / "out"), only="openms_p07", start="weights.pt")


def test_what_is_finished_is_not_trained_again(tmp_path):
    training = next(trainings(NAMES, PATIENTS["openms_p07"], tmp_path))
    training.folder.mkdir()
    assert not training.finished()
    (training.folder / "scale_0.pt").touch()
    assert training.finished()
    (training.folder / "resume_0_checkpoint_epoch=3.pt").touch()
    assert not training.finished()


def test_an_unknown_patient_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"openms_p070.*take one of openms_p07, "):
        main(str(tmp_path), str(tmp_path / "out"), only="openms_p070")
