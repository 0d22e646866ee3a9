"""Generators that overlap stages: one thread ahead, or several calls in flight, in order and bounded."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def split(items: Iterable[Item], count: int) -> list[Iterator[Item]]:
    """Give several consumers the same items, each at its own pace.

    An item is freed once the slowest consumer has it; `itertools.tee` keeps up to 57 longer.
    """
    source = iter(items)
    waiting: list[deque[Item]] = [deque() for _ in range(count)]

    def fetch() -> bool:
        for item in islice(source, 1):
            for own in waiting:
                own.append(item)
            return True
        return False

    def take(own: deque[Item]) -> Iterator[Item]:
        while own or fetch():
            yield own.popleft()

    return [take(own) for own in waiting]


def prefetch(items: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """Produce items in a thread, at most `ahead` of them before they are asked for, the one being made included.

    An error in the producer is raised in place of its item. Closing the generator ends the thread, and closes `items`
    if it is a generator.
    """
    ready: queue.SimpleQueue[tuple[str, Item | BaseException | None]] = queue.SimpleQueue()
    room = threading.Semaphore(ahead)
    stopped = threading.Event()

    def produce() -> None:
        iterator = iter(items)
        try:
            while room.acquire() and not stopped.is_set():
                ready.put(("item", next(iterator)))
        except StopIteration:
            ready.put(("end", None))
        except BaseException as error:  # noqa: BLE001  (raised again in the consumer)
            ready.put(("error", error))
        finally:
            close(iterator)

    thread = threading.Thread(target=produce, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            room.release()
            yield value  # type: ignore[misc]
            del value
    finally:
        stopped.set()
        room.release()
        thread.join()


def ordered_map(
    call: Callable[[Item], Result],
    items: Iterable[Item],
    in_flight: int,
    abandon: Callable[[], None] | None = None,
) -> Generator[Result, None, None]:
    """Map `call` over items with up to `in_flight` calls at once; results are in the order of the items.

    If it ends early, by an error or by being closed, `abandon` is called, which should make the calls in flight fail
    soon; they are waited for.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(in_flight, thread_name_prefix="call") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in iterator:
                pending.append(pool.submit(call, item))
                del item
                if len(pending) >= in_flight:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            if abandon is not None:
                abandon()
            raise
        finally:
            for future in pending:
                future.cancel()
            close(iterator)


def batched(items: Iterable[Item], size: int) -> Generator[list[Item], None, None]:
    """Group items into lists of `size`; the last may be shorter."""
    iterator = iter(items)
    try:
        batch: list[Item] = []
        for item in iterator:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        close(iterator)


def close(iterator: Iterator[object]) -> None:
    """Close a generator, so that what it holds is freed now; other iterators are left alone."""
    if isinstance(iterator, Generator):
        iterator.close()
