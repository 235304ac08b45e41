"""Folds keep a patient's images together."""

import pytest
from monai.data import partition_dataset

from bundle.training.data import partition_by_patient, sampling_weights

DATA = [{"image": f"folder/{name}.png"} for name in "abcdefgh"]
LINES = "file,patient\na.png,1\nb.png,1\nc.png,1\nd.png,2\ne.png,2\nf.png,unknown\ng.png,unknown\n"


def test_every_image_is_in_one_fold_and_no_patient_in_two(tmp_path):
    (tmp_path / "patients.csv").write_text(LINES)
    folds = partition_by_patient(DATA, 3, tmp_path / "patients.csv")
    names = [[item["image"][-5] for item in fold] for fold in folds]
    assert sorted(name for fold in names for name in fold) == list("abcdefgh")
    assert len({i for i, fold in enumerate(names) for name in fold if name in "abc"}) == 1
    assert len({i for i, fold in enumerate(names) for name in fold if name in "de"}) == 1


def test_images_of_no_known_patient_are_their_own(tmp_path):
    (tmp_path / "patients.csv").write_text(LINES)
    assert len(partition_by_patient(DATA, 5, tmp_path / "patients.csv")) == 5
    with pytest.raises(ValueError, match="num_folds 6 must be 1 to 5"):
        partition_by_patient(DATA, 6, tmp_path / "patients.csv")
    with pytest.raises(ValueError, match="no image is left to split into folds: held_out names all; hold out fewer"):
        partition_by_patient([], 1)


def test_files_may_have_another_suffix_there(tmp_path):
    (tmp_path / "patients.csv").write_text(LINES)
    (tmp_path / "others.csv").write_text(LINES.replace(".png", ".jpg"))
    folds = [partition_by_patient(DATA, 3, tmp_path / name) for name in ("patients.csv", "others.csv")]
    assert folds[0] == folds[1]


def test_a_table_saved_by_excel_is_read_too(tmp_path):
    (tmp_path / "patients.csv").write_text(LINES, encoding="utf-8")
    (tmp_path / "excel.csv").write_text(LINES, encoding="utf-8-sig")
    folds = [partition_by_patient(DATA, 5, tmp_path / name) for name in ("patients.csv", "excel.csv")]
    assert folds[0] == folds[1]


def test_without_patients_it_is_monais_partition():
    assert partition_by_patient(DATA, 3) == partition_dataset(DATA, num_partitions=3, shuffle=True, seed=0)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [(None, FileNotFoundError, "does not exist"), ("file,name\n", ValueError, "has no column 'patient'")],
)
def test_a_file_that_tells_no_patients(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(error, match=message):
        partition_by_patient(DATA, 2, tmp_path / "patients.csv")


def test_images_of_a_kind_are_sampled_as_often_as_told():
    data = [{"image": f"folder/{name}.nii.gz"} for name in ("one_1", "one_2_drawn_0", "other")]
    assert sampling_weights(data, {}) == [1, 1, 1]
    assert sampling_weights(data, {"one": 2, "one_2": 5, "ther": 7}) == [2, 5, 1]
    with pytest.raises(ValueError, match="above 0"):
        sampling_weights(data, {"one": 0})
