"""Several processes share the images that one of them has found, end together, and one of them tells why."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from bundle.runtime import each, fault, ranks, torchrun
from bundle.runtime.each import run_each
from tests.processes import nameless
from tests.processes import torchrun as started

ROOT = Path(__file__).parents[2]


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two; what they do together is noted."""
    done: list[str] = []

    def broadcast(values, src):
        done.append(f"from {src}")
        values[0] = ["b.nii", "a.nii"]

    def gather(values, own):
        done.append("waited")
        values[:] = [own] * len(values)

    for module in (ranks, each):
        monkeypatch.setattr(module, "world", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    return done


def test_all_share_what_the_first_has_found_when_all_have_looked(second):
    """One that looks late would miss what has a result by then."""
    assert ranks.agreed(["b.nii"]) == ["b.nii", "a.nii"]
    assert second == ["waited", "from 0"]


def test_alone_there_is_nothing_to_agree_on():
    assert ranks.agreed(["a.nii"]) == ["a.nii"] and ranks.of_all(3) == [3]


def test_another_s_end_is_told_as_such(second, monkeypatch):
    def closed(*_, **__):
        raise RuntimeError("[gloo] Connection closed by peer")

    for name in ("broadcast_object_list", "all_gather_object"):
        monkeypatch.setattr(dist, name, closed)
    for ask in (ranks.wait, lambda: ranks.of_first(1), lambda: ranks.of_all(1), lambda: ranks.agreed([1])):
        with pytest.raises(ranks.EndedError, match="another process of this run has ended"):
            ask()
    assert second == []


def evaluator(images, error=ValueError):
    """An evaluator that cannot read some images."""

    def read(item):
        if "bad" in item["image"]:
            raise error(f"image {item['image']!r} cannot be read; take another.")
        return item

    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset([{"image": path} for path in images], read), batch_size=1, num_workers=0),
        network=nn.Identity(),
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        iteration_update=lambda _, batch: batch,
        decollate=False,
    )


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_tells_the_failures_of_all_and_all_end_with_status_1(number, capsys, monkeypatch, tmp_path):
    """Neither of this process's images fails; a report of its own does, and an image of the other process."""
    monkeypatch.setattr(each, "first", lambda: number == 0)
    monkeypatch.setattr(each, "of_all", lambda own: [own, ([("bad.nii", "bad.nii is cut short")], 3, [])])
    monkeypatch.setenv(ranks.ERROR_FILE, str(tmp_path / "error.json"))
    engine = evaluator(["a.nii", "b.nii"])
    engine.add_event_handler(Events.COMPLETED, lambda _: fault("no report of 'a.nii'"))
    with pytest.raises(SystemExit) as ended:
        run_each(engine)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    last = "error: 1 of 5 images failed, see the lines above; the other 4 are done, but not 1 report failed."
    last = last.replace(" failed.", ".")
    if number:
        assert lines == ["failed: no report of 'a.nii'"] and not (tmp_path / "error.json").exists()
    else:
        assert lines[-2:] == ["failed: bad.nii is cut short", last]
        assert json.loads((tmp_path / "error.json").read_text(encoding="utf-8"))["message"] == last


@pytest.mark.parametrize("number", [0, 1])
def test_together_all_have_the_same_images_and_failures(number, second, capsys, monkeypatch):
    """One that all share does not end the run; the first process tells it, and that a report failed."""
    monkeypatch.setattr(ranks, "rank", lambda: number)
    monkeypatch.setattr(each, "of_all", lambda own: [own, own if own == 2 else (*own[:2], ["no report of 'a.nii'"])])
    summary: list[str] = []
    table = SimpleNamespace(failed=lambda image, _: summary.append(image))
    with pytest.raises(SystemExit):
        run_each(evaluator(["a.nii", "bad.nii", "c.nii"]), together=True, summary=table)
    last = "error: 1 of 3 images failed, see the lines above; the other 2 are done, but not 1 report."
    failed = "failed: image 'bad.nii' cannot be read; take another."
    assert capsys.readouterr().err.splitlines()[-2:] == ([] if number else [failed, last])
    assert summary == ([] if number else ["bad.nii"]) and second == ["waited"] * 3


def test_together_what_is_no_failure_of_one_image_ends_the_run(second, monkeypatch):
    with pytest.raises(ranks.SharedError, match=r"^image 'bad.nii' cannot be read; take another.$"):
        run_each(evaluator(["bad.nii"]), together=True)  # a single image is no list of failures
    with pytest.raises(RuntimeError, match="applying transform"):  # there is no one to agree with
        run_each(evaluator(["a.nii", "bad.nii", "c.nii"], ranks.EndedError), together=True)
    assert second == ["waited"] * 2
    monkeypatch.setattr(each, "of_all", lambda own: [own, own + 1])  # another process is at another image
    with pytest.raises(ranks.SharedError):
        run_each(evaluator(["a.nii", "bad.nii", "c.nii"]), together=True)


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("others", [["", ""], ["", "disk full"], ["disk full", ""]])
def test_no_process_goes_on_if_one_fails(monkeypatch, others):
    monkeypatch.setattr(ranks, "of_all", lambda own: [own, *others])
    with pytest.raises(ranks.SharedError, match=r"^disk full$") if any(others) else nullcontext():
        ranks.wait()
    with pytest.raises(ranks.SharedError, match=r"^too large$") as raised:
        ranks.wait(ValueError("too large"))
    assert isinstance(raised.value.__cause__, ValueError)


def test_one_process_alone_has_its_own_error():
    ranks.wait()
    with pytest.raises(RuntimeError, match="applying transform"):
        run_each(evaluator(["bad.nii"]), together=True)


def failure(folder, rank, status, message=None, time=5):
    """How torchrun sees a process that has ended."""
    file = folder / f"{rank}.json"
    if message:
        file.write_text(json.dumps({"message": message, "timestamp": str(time)}), encoding="utf-8")
    return ProcessFailure(rank, 100 + rank, status, str(file))


def test_the_last_line_is_that_of_the_process_that_failed_first(tmp_path):
    """Those that only lost the others have left none, whenever they ended."""
    failures = {
        0: failure(tmp_path, 0, 1),
        1: failure(tmp_path, 1, 1, "error: late.", 9),
        2: failure(tmp_path, 2, 1, "error: early."),
    }
    assert torchrun.last_line(ChildFailedError("run", failures)) == "error: early."
    lost = {3: failure(tmp_path, 3, -9)}
    assert torchrun.last_line(ChildFailedError("run", lost)) == (
        "error: process 3 has ended by SIGKILL, see the lines above."
    )


@pytest.mark.slow
def test_a_run_of_several_processes_ends_in_one_line(tmp_path):
    """A process that fails ends the others, which wait for it; the launcher's last line is its own."""
    script = tmp_path / "fails.py"
    script.write_text(
        "import torch.distributed as dist\n"
        "from bundle.runtime import ranks\n"
        "from bundle.runtime.errors import end_in_one_line\n"
        "end_in_one_line()\n"
        "dist.init_process_group('gloo')\n"
        "ranks.wait()\n"
        "if ranks.rank() == 1:\n"
        "    raise ValueError('image 7 is cut short; fetch it again.')\n"
        "ranks.wait()\n",
        encoding="utf-8",
    )
    command = [word.replace("torch.distributed.run", "bundle.runtime.torchrun") for word in started(2)]
    environment = nameless(tmp_path / "nameless")
    done = subprocess.run(
        [*command, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: image 7 is cut short; fetch it again."
    assert sys.executable in command and "ChildFailedError" not in done.stderr
