"""A temporary folder is removed: at once, or with patience where threads may still write into it."""

import pytest

from bundle.runtime import files
from bundle.runtime.files import EnoughError, temporary_folder
from bundle.runtime.system import PAUSES


@pytest.mark.parametrize("stores", [False, True], ids=["files", "folders"])
@pytest.mark.parametrize("ended", [None, EnoughError, KeyboardInterrupt], ids=["finished", "tried", "interrupted"])
def test_only_what_threads_may_still_write_is_waited_for(tmp_path, monkeypatch, stores, ended):
    """A thread of zarr, which an exception does not end, makes its folder again while the removal waits."""
    holders, waited = [], []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 1:
            (holders[0] / "store").mkdir(parents=True)

    monkeypatch.setattr(files.time, "sleep", sleep)
    try:
        with temporary_folder(tmp_path / "out") as holder:
            holders.append(holder)
            (holder / "file").write_text("x")
            if stores:
                (holder / "store").mkdir()
            if ended:
                raise ended
    except (EnoughError, KeyboardInterrupt):
        assert ended
    assert waited == (list(PAUSES) if stores and ended is KeyboardInterrupt else [])
    assert not any((tmp_path / "out").iterdir())
