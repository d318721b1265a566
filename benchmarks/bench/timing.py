"""Processor time of things that take turns, so that other work on the machine hits all alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turns(steps: Mapping[str, Callable[[], object]], n_times: int) -> dict[str, float]:
    """The least processor seconds of each of ``steps``, called in turns ``n_times`` after two
    calls that are not timed."""
    times = np.empty((n_times + 2, len(steps)))
    for i in range(n_times + 2):
        for j, step in enumerate(steps.values()):
            before = time.process_time()
            step()
            times[i, j] = time.process_time() - before
    return dict(zip(steps, times[2:].min(0).tolist()))
