"""Reading ahead and writing behind change neither order nor results, and lose no error."""

from __future__ import annotations

import threading

import pytest

from bundle.runtime import prefetch


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_all_is_done_once_and_in_order(number, threads):
    written = []
    done = list(
        prefetch(
            range(number),
            lambda i: 10 * i,
            lambda i, read: (i, read + 1),
            lambda i, made: written.append((i, made)),
            threads,
        )
    )
    assert done == list(range(number))
    assert written == [(i, (i, 10 * i + 1)) for i in range(number)]


def test_the_next_is_read_and_the_last_written_while_one_is_computed():
    read, written = [threading.Event() for _ in range(3)], [threading.Event() for _ in range(3)]

    def compute(i, _):
        if i < 2:
            assert read[i + 1].wait(30), "the next was not read meanwhile"
        if i:
            assert written[i - 1].wait(30), "the last was not written meanwhile"

    list(prefetch(range(3), lambda i: read[i].set(), compute, lambda i, _: written[i].set()))


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("where", ["read", "compute", "write"])
@pytest.mark.parametrize("item", [0, 1, 3])
def test_an_error_is_raised_and_nothing_is_left_running(where, item, threads):
    def step(name):
        def work(i, *_):
            if name == where and i == item:
                raise OSError(f"{name} {i}")

        return work

    before = threading.active_count()
    with pytest.raises(OSError, match=f"{where} {item}"):
        list(prefetch(range(4), step("read"), step("compute"), step("write"), threads))
    assert threading.active_count() == before
