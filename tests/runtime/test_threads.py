"""Things done at once keep their order, hold no more than they may, and lose no error; small arrays are not shared."""

from __future__ import annotations

import threading

import pytest
import torch

from bundle.runtime import one_thread, side_by_side


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_items(number, threads):
    assert list(side_by_side(range(number), lambda i: 10 * i, lambda read: read + 1, threads)) == [
        10 * i + 1 for i in range(number)
    ]


def test_as_many_are_computed_at_once_as_there_are_threads():
    both = threading.Barrier(2, timeout=30)
    assert len(list(side_by_side(range(4), int, lambda _: both.wait(), 2))) == 4


def test_no_more_is_read_than_is_held():
    read, done = [], []
    for result in side_by_side(range(9), lambda i: read.append(i) or i, lambda i: i, 3):
        done.append(result)
        assert len(read) - len(done) < 3


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("step", ["read", "compute"])
def test_an_error_is_raised_and_nothing_is_left_running(step, threads):
    def fail(i):
        if i == 2:
            raise OSError(f"item {i}")
        return i

    before = threading.active_count()
    with pytest.raises(OSError, match="item 2"):
        list(side_by_side(range(5), *((fail, int) if step == "read" else (int, fail)), threads))
    assert threading.active_count() == before


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(OSError, match="x"), one_thread() as had:
            assert (had, torch.get_num_threads()) == (3, 1)
            raise OSError("x")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
