"""The ways of training that :mod:`benchmarks.rounds` sets beside each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """One way of training, with as many samples at each site as every other.

    ``cut``: each of the base's rounds becomes as many shorter ones. ``split``: each step becomes
    as many of a batch that much smaller. ``rate``: the plan's ``rate_scale``; ``policy_rate``
    multiplies the policy's once more. ``central``: all slices at one place, the steps of all
    sites; ``large_batch``: there, too, but in one site's steps with the batches of all sites
    together. ``moments``: what a site's Adam begins a round with: its own state ("kept"), the
    federation's step ("global", as in the plan), the mean over the sites of both moments ("mean"),
    of the first or second only ("first", "square"), or nothing ("fresh"). ``momentum`` and
    ``server_rate`` are FedAvgM's; ``extrapolated``: FedExP. ``equal`` weighs sites alike and not
    by slices.
    """

    words: str
    cut: int = 1
    split: int = 1
    rate: float = 1.0
    policy_rate: float = 1.0
    central: bool = False
    large_batch: bool = False
    moments: str = "kept"
    momentum: float = 0.0
    server_rate: float = 1.0
    extrapolated: bool = False
    equal: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)
    aggregation: Mapping[str, Any] = field(default_factory=dict)


_PROX = {"strategy": "fedprox"}
_ADAM = {"strategy": "fedadam", "server_learning_rate": 3e-3}

CHANGES = {
    "central": Change("all slices at one place, as many samples", central=True),
    "central-r3": Change("the same at three times the rates", central=True, rate=3),
    "central-large": Change(
        "all slices at one place, one site's steps of all sites' batches", large_batch=True
    ),
    "central-large-r3": Change("the same at three times the rates", large_batch=True, rate=3),
    "fedavg": Change("FedAvg"),
    "r3": Change("three times the rates", rate=3),
    "cut3": Change("three times the rounds", 3),
    "cut9": Change("nine times the rounds", 9),
    "cut36": Change("36 times the rounds", 36),
    "cut3-r3": Change("three times the rounds and rates", 3, rate=3),
    "cut9-r3": Change("nine times the rounds, three times the rates", 9, rate=3),
    "cut36-r3": Change("36 times the rounds, three times the rates", 36, rate=3),
    "split3": Change("three times the steps of a third of the batch", split=3),
    "cut3-split3": Change("three times the rounds; steps thrice, of a third of the batch", 3, 3),
    "cut3-s2": Change("three times the rounds, the server's step doubled", 3, server_rate=2),
    "cut3-m5": Change("three times the rounds, FedAvgM .5", 3, momentum=0.5),
    "cut3-exp": Change("three times the rounds, FedExP", 3, extrapolated=True),
    "cut3-equal": Change("three times the rounds, sites weighed alike", 3, equal=True),
    "cut3-prox": Change("three times the rounds, FedProx .01", 3, aggregation=_PROX),
    "cut3-adam": Change("three times the rounds, FedAdam .003", 3, aggregation=_ADAM),
    "cut3-batch": Change("three times the rounds, BatchNorm", 3, model={"norm": "batch"}),
    "cut3-fresh": Change("three times the rounds, a fresh Adam in each", 3, moments="fresh"),
    "cut3-mean": Change("three times the rounds, Adam's moments averaged", 3, moments="mean"),
    "cut3-global": Change("three times the rounds, global momentum", 3, moments="global"),
}
CHANGES |= {
    "cut3-global-r3-p03": Change(
        "three times the rounds and the network's rate, global momentum",
        3,
        rate=3,
        policy_rate=1 / 3,
        moments="global",
    ),
    "cut3-global-p3": Change(
        "three times the rounds and the policy's rate, global momentum",
        3,
        policy_rate=3,
        moments="global",
    ),
    "cut9-split2-global-r2": Change(
        "nine times the rounds, twice the rates and the steps of half the batch, global momentum",
        *(9, 2, 2),
        moments="global",
    ),
}
CHANGES |= {
    f"cut{cut}-{moments}-r{rate}": Change(
        f"{cut} times the rounds, {rate} times the rates, {words}", cut, rate=rate, moments=moments
    )
    for cut, moments, rate, words in (
        (3, "mean", 3, "Adam's moments averaged"),
        (9, "mean", 3, "Adam's moments averaged"),
        (9, "first", 3, "first moments averaged"),
        (9, "square", 3, "second moments averaged"),
        (3, "global", 3, "global momentum"),
        (4, "global", 3, "global momentum"),
        (6, "global", 3, "global momentum"),
        (9, "global", 2, "global momentum"),
        (9, "global", 3, "global momentum"),
    )
}
