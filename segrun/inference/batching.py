"""Reading ahead with threads, and grouping images of equal size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def read_ahead(items: Iterable[A], read: Callable[[A], B], workers: int, ahead: int) -> Iterator[B]:
    """`read(item)` of each item in order, computed by threads up to `ahead` items in advance.

    Args:
        items: The items; they are taken one by one.
        read: Called in a thread. Its exception is raised when its item's turn comes.
        workers: Number of threads, at least 1.
        ahead: Number of items in advance.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        pending: deque[Future[B]] = deque(pool.submit(read, item) for item in islice(remaining, ahead))
        try:
            while pending:
                future = pending.popleft()
                for item in islice(remaining, 1):
                    pending.append(pool.submit(read, item))
                yield future.result()
        finally:  # an interruption does not wait for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)


def group_by_size(
    items: Iterable[A],
    size: Callable[[A], Sequence[object]],
    limit: int,
    alone: Callable[[A], bool] = lambda item: False,
) -> Iterator[list[A]]:
    """Groups of consecutive items of equal size.

    Args:
        items: The items; they are taken one by one.
        size: The size of an item; items with different sizes are in different groups.
        limit: Largest number of items per group.
        alone: Whether an item is the last of its group, and the first one too if it needs much memory.
    """
    group: list[A] = []
    for item in items:
        if group and (len(group) == limit or alone(item) or size(group[0]) != size(item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group
