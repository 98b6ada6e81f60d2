"""Work done ahead by threads, in order and within a bounded window."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

CHUNK = 64  # files or images that threads work on before the next are queued


def chunked(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield batches for ``map_batches`` of what is all of one kind, in order."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def map_batches(
    function: Callable[[Any], Any], batches: Iterable[Sequence[Any]], workers: int, ahead: int
) -> Iterator[list[Any]]:
    """Yield [function(item) for item in batch] for each batch, in order; batches may be endless.

    workers: threads, 0 for one per core that this process may use (decoding releases the interpreter's lock). They
    work on single items, at most ``ahead`` batches in advance. (Executor.map would queue all items at once: for the
    files of ImageNet gigabytes of futures.) An error is raised where its batch's turn comes.
    """
    source = iter(batches)
    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
    try:
        waiting = deque([pool.submit(function, item) for item in batch] for batch in islice(source, max(ahead, 1)))
        while waiting:
            done = [future.result() for future in waiting.popleft()]
            waiting.extend([pool.submit(function, item) for item in batch] for batch in islice(source, 1))
            yield done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
