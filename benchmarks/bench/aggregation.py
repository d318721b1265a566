"""The mean of the sites' weights beside copying them."""

import numpy as np

from benchmarks.bench.timing import in_turns
from fl_server.aggregation.mean import WeightedMean


def table(n_times: int, n_floats: int = 11_180_000) -> dict[str, dict[str, float]]:
    """The mean of K replies of ``n_floats``, and copying K + 1 such vectors."""
    reply = np.random.default_rng(1).normal(size=n_floats).astype(np.float32)
    target = np.empty_like(reply)
    found = {}
    for n_sites in (2, 8):

        def mean(n_sites: int = n_sites) -> None:
            total = WeightedMean(n_floats)
            for _ in range(n_sites):
                total.add(reply, 100)
            total.value()

        def copies(n_sites: int = n_sites) -> None:
            for _ in range(n_sites + 1):
                np.copyto(target, reply)

        seconds = in_turns({"mean": mean, "copies": copies}, n_times)
        found[f"{n_sites} sites, {4 * n_floats / 1e6:.1f} MB each"] = {
            "mean, s": seconds["mean"],
            "copies, s": seconds["copies"],
            "mean / copies": seconds["mean"] / seconds["copies"],
            "goal": 3.0,
        }
    return found
