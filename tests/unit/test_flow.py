from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from client.flow import batched, ordered_map, prefetch, split
from tests.waiting import wait_until


def test_order_survives_calls_that_overtake_each_other() -> None:
    """Results come in the order of the items, however long each call takes."""

    def call(item: int) -> int:
        time.sleep(0.01 * (item % 3))
        return item * 2

    assert list(ordered_map(call, range(20), in_flight=4)) == [2 * item for item in range(20)]


def test_calls_are_bounded() -> None:
    """No more than `in_flight` items are taken before their results are wanted."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), in_flight=3)
    next(results)
    assert len(taken) == 3
    results.close()


def test_no_more_is_prefetched_than_stated() -> None:
    """An item that is being made counts, so that what is held at once has a limit."""
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            begun.append(item)
            yield item

    stream = prefetch(items(), ahead=2)
    assert next(stream) == 0
    wait_until(lambda: len(begun) == 3)
    time.sleep(0.05)
    assert begun == [0, 1, 2]
    stream.close()


def test_prefetch_fails_where_its_producer_failed() -> None:
    """Items before the error arrive, then the error itself."""

    def items() -> Iterator[int]:
        yield 1
        raise RuntimeError("broken")

    stream = prefetch(items(), ahead=2)
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(stream)


def test_closing_ends_threads_and_frees_the_source() -> None:
    """A consumer that stops early leaves no thread behind and closes the producer."""
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    stream = ordered_map(lambda item: item, prefetch(items(), ahead=2), in_flight=2)
    next(stream)
    stream.close()
    assert closed.wait(5)
    assert threading.active_count() == before


def test_batches_hold_all_items_once() -> None:
    """The last batch is shorter when the items do not fill it."""
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_calls_under_way_are_abandoned_when_one_fails() -> None:
    """The first error makes the others end at once, instead of being waited for."""
    given_up = threading.Event()

    def call(item: int) -> int:
        if item == 0:
            raise RuntimeError("broken")
        assert given_up.wait(10)
        return item

    with pytest.raises(RuntimeError, match="broken"):
        list(ordered_map(call, range(3), in_flight=3, abandon=given_up.set))


class Frame:
    """Large, so that it must not be kept."""


def test_consumers_get_the_same_items_at_their_own_pace() -> None:
    """One that is ahead makes items wait for the other."""
    first, second = split(range(5), 2)
    assert [next(first), next(first), next(second)] == [0, 1, 0]
    assert (list(first), list(second)) == ([2, 3, 4], [1, 2, 3, 4])


@pytest.mark.parametrize("count", [1, 2])
def test_items_are_let_go_once_all_consumers_have_them(count: int) -> None:
    """Frames of a video would fill the memory."""
    alive: list[weakref.ref[Frame]] = []

    def frames() -> Iterator[Frame]:
        for _ in range(20):
            frame = Frame()
            alive.append(weakref.ref(frame))
            yield frame
            del frame

    for _ in zip(*split(frames(), count), strict=True):
        assert sum(reference() is not None for reference in alive) <= 3
