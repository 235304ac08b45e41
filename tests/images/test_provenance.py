"""Provenance: results of this bundle are known as such, and nothing else is replaced."""

import json
import re

import jsonschema
import numpy as np
import pytest

from bundle.images import ImageError, create_image, held, plan_results, provenance
from bundle.images.provenance import (
    COMPANIONS,
    PROVENANCE,
    check_replaceable,
    content_hash,
    owned,
    read_provenance,
    write_provenance,
)
from bundle.runtime import Job
from bundle.runtime.files import atomic, sealing
from tests.processes import ROOT


def image(path, value=7):
    """A small image file."""
    with create_image(path, held(np.full((4, 3, 2), value, np.int16), np.eye(4)), np.int16) as write:
        write((slice(0, 4), slice(0, 3), slice(0, 2)), np.full((4, 3, 2), value, np.int16))
    return path


def made(result, source, content="made", **more):
    """A result with its provenance."""
    replaced = owned(result)
    with sealing(lambda whole: write_provenance(result, whole, source, (), more, replaced)), atomic(result) as part:
        part.write_text(content)
    return result


@pytest.fixture
def source(tmp_path):
    return image(tmp_path / "in" / "scan.nii")


def test_own_results_alone_are_replaced(tmp_path, source):
    result = made(tmp_path / "out" / "scan_translated.nii", source)
    assert check_replaceable(result, source) == owned(result) is not None
    result.write_text("changed by somebody")
    with pytest.raises(FileExistsError, match=r"scan_translated\.nii.*scan\.nii.*not known as this bundle's own"):
        check_replaceable(result, source)
    assert check_replaceable(result, source, overwrite="all") is None
    with pytest.raises(ValueError, match="overwrite 'some' is neither 'own'"):
        plan_results([str(source)], tmp_path / "out", overwrite="some")


def test_a_name_leaves_room_for_those_beside_it(tmp_path):
    """File systems allow 255 bytes."""
    longest = 255 - max(map(len, (PROVENANCE, *COMPANIONS)))
    stem = "a" * (longest - len("_translated.nii"))
    (result,) = plan_results([f"{stem}.nii"], tmp_path, overwrite="own").values()
    assert len(result.name) == longest
    with pytest.raises(ImageError, match=rf"has {longest + 1} bytes, more than {longest}; rename"):
        plan_results([f"{stem}a.nii"], tmp_path, overwrite="own")


def test_a_foreign_folder_is_not_removed(tmp_path, source):
    (tmp_path / "out" / "ct_translated").mkdir(parents=True)
    (tmp_path / "out" / "ct_translated" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not known as this bundle's own"):
        check_replaceable(tmp_path / "out" / "ct_translated", source)


@pytest.mark.parametrize("end", [PROVENANCE, *COMPANIONS])
def test_what_lies_beside_and_is_not_ours_is_not_replaced(tmp_path, source, end):
    """Neither overwritten nor removed, if there is no result of ours that it could belong to."""
    result = tmp_path / "out" / "ct_translated.nii"
    result.parent.mkdir()
    beside = result.with_name(result.name + end)
    beside.write_text("mine")
    for overwrite, refused in (("own", True), ("all", False)):
        if refused:
            with pytest.raises(FileExistsError, match=rf"would replace '{re.escape(beside.name)}', which is not known"):
                check_replaceable(result, source, overwrite=overwrite)
        else:
            assert check_replaceable(result, source, overwrite=overwrite) is None
    made(result, source)
    result.unlink()
    assert check_replaceable(result, source) is None  # left by ours


def test_the_result_of_another_patient_is_not_replaced(tmp_path, source):
    other = image(tmp_path / "other" / "scan.nii", 8)
    result = made(tmp_path / "out" / "scan_translated.nii", source)
    with pytest.raises(FileExistsError, match="was made from another image; move it away"):
        check_replaceable(result, other)
    copy = image(tmp_path / "copy" / "scan.nii")
    assert check_replaceable(result, copy)
    image(source, 9)
    assert check_replaceable(result, source)


def test_processes_killed_between_provenance_and_result_leave_an_own_result(tmp_path, source):
    result = made(tmp_path / "out" / "scan_translated.nii", source)
    for content in ("new", "newer"):  # a process that is killed, and one that is killed after it

        def killed(whole):
            write_provenance(result, whole, source, (), {}, check_replaceable(result, source))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), sealing(killed), atomic(result) as part:
            part.write_text(content)
        own = owned(result)
        assert result.read_text() == "made"
        assert own.sha256 == own.told["result"]["replaces"] == content_hash(result) != own.told["result"]["sha256"]
    made(result, source, "newest")
    assert result.read_text() == "newest" and owned(result).sha256 == content_hash(result)


def test_what_is_replaced_is_hashed_once(tmp_path, source, monkeypatch):
    result = made(tmp_path / "out" / "scan_translated.nii", source)
    hashed = []
    monkeypatch.setattr(
        provenance, "content_hash", lambda path, files=(): hashed.append(path) or content_hash(path, files)
    )
    write_provenance(result, source, source, (), {}, check_replaceable(result, source))
    assert hashed.count(result) == 1
    assert read_provenance(result)["result"]["replaces"] == content_hash(result)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"bundle": "other"}', '{"bundle": "ct_kernel_translation_gan"}', "\0"]
)
def test_a_file_that_is_no_provenance_tells_nothing(tmp_path, text):
    (tmp_path / f"a.nii{PROVENANCE}").write_text(text)
    assert read_provenance(tmp_path / "a.nii") is None


def test_what_was_made_by_the_same_job_is_skipped(tmp_path, source, capsys):
    job, other = Job(settings=[1]), Job(settings=[2])
    plan = {"output_dir": tmp_path / "out", "overwrite": "own", "skip_existing": True}
    assert list(plan_results([str(source)], **plan, job=job)) == [str(source)]
    made(tmp_path / "out" / "scan_translated.nii", source, job=job.key())
    assert list(plan_results([str(source)], **plan, job=job)) == []
    assert re.match(r"skipped: .*scan_translated\.nii exists already, made from .*scan\.nii", capsys.readouterr().out)
    assert list(plan_results([str(source)], **plan, job=other)) == [str(source)]
    image(source, 9)
    assert list(plan_results([str(source)], **plan, job=job)) == [str(source)]


def test_a_name_that_is_too_long_is_refused_before_the_first_image(tmp_path):
    path = image(tmp_path / f"{'a' * 247}.nii")
    with pytest.raises(ValueError, match=r"would give a result whose name .* has 262 bytes, more than 237; rename"):
        plan_results([str(path)], tmp_path / "out")


@pytest.mark.parametrize("postfix", ["a/b", "..\\a", "a\0"])
def test_a_postfix_that_is_no_part_of_a_name_is_refused(tmp_path, source, postfix):
    with pytest.raises(
        ValueError, match=r"output_postfix .* is not part of a file's name; take one without / and \\\."
    ):
        plan_results([str(source)], tmp_path / "out", postfix)


def test_the_schema_is_that_of_json():
    schema = json.loads((ROOT / "docs" / "provenance.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
