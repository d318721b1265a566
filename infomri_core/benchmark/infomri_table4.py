"""InfoMRI's Table 4: digits, their classification, and what an attacker rebuilds of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from infomri_core.attacks.registry import FLOORS
from infomri_core.benchmark.benchmark import Benchmark, Budget, Figures, Request, Row
from infomri_core.benchmark.mnist_study import (
    ACCELERATIONS,
    PRINTED,
    STRONG,
    Digits,
    Schedule,
    plan_of,
    scored,
    trained,
)
from infomri_core.data import open_dataset

_SCHEDULES: Mapping[Budget, Schedule] = {
    "small": Schedule(600, 64, 8, 1e-3, 600, 100, 2000, 300),
    "full": Schedule(14_650, 512, 64, 1e-4, 50_000, 4000, 5000, 5000),
}
_BETAS = (1e-3, 3e-3, 1e-2)
_ARMS: Mapping[str, Mapping[str, Any]] = {
    "uniform": {"sampler": "uniform"},
    "variable density": {"sampler": "variable-density"},
    "LOUPE": {"sampler": "loupe", "any_ratio": True},
    # The loss of all 24 turns would cost the classifier 24 times a step.
    "A-DPS": {"sampler": "a-dps", "turns": 24, "every_turn": False},
    "SeqMRI": {"sampler": "seqmri"},
    "InfoMRI, beta = 0": {"sampler": "infomri"},
    **{
        f"InfoMRI, beta = {beta:g}": {
            "sampler": "infomri",
            "suppression": "marginal",
            "beta": beta,
        }
        for beta in _BETAS
    },
}
_ZERO, _CHOSEN = "InfoMRI, beta = 0", "InfoMRI, beta > 0"


class InfoMRITable4(Benchmark):
    """One model a row for both accelerations; beta is chosen on validation images."""

    name = "infomri-table4"
    reproduces = (
        "InfoMRI, Table 4, with the attacker as printed, and beside it the strongest attack here "
        "and both floors. Near absolute at full budget; small has another schedule and width. "
        "LOUPE and A-DPS serve both accelerations with one model; A-DPS learns from its last turn."
    )
    data = "mnist:FILE.npz"
    cost: ClassVar[Mapping[Budget, str]] = {
        "small": "25 CPU minutes a seed",
        "full": "a GPU, some hours a seed",
    }
    published: ClassVar[Mapping[str, tuple[tuple[float, float], ...]]] = {
        "uniform": ((11.33, 0.8236), (11.20, 0.8061)),
        "variable density": ((14.05, 0.9410), (12.74, 0.8838)),
        "LOUPE": ((15.61, 0.9692), (13.73, 0.9253)),
        "A-DPS": ((15.10, 0.9773), (13.02, 0.9651)),
        _ZERO: ((14.84, 0.9776), (12.19, 0.9587)),
        _CHOSEN: ((11.79, 0.9801), (10.25, 0.9622)),
    }

    def rows(self, request: Request) -> Sequence[Row]:
        schedule = _SCHEDULES[request.budget]
        digits = cache(lambda: Digits.of(open_dataset(request.data)))
        words = f"{schedule.steps} steps of {schedule.batch}, ResNet18 of width {schedule.width}"
        learned_first = sorted(_ARMS, key=lambda name: name == "uniform")
        return [
            Row(
                f"{name} | {seed}",
                words,
                _run(digits, _ARMS[name], schedule, seed, request.device),
            )
            for seed in request.seeds
            for name in learned_first
        ]

    def table(self, found: Mapping[str, Figures]) -> str:
        head = ["accuracy; PSNR dB: printed attacker, strongest, diagnosis alone"]
        lines = [[*head, *(f"{a:g}x" for a in ACCELERATIONS)], ["---"] * (1 + len(ACCELERATIONS))]
        chosen = chosen_beta(found)
        for name in _ARMS:
            runs = _of(found, name)
            if not runs:
                continue
            mark = ", chosen on validation" if name == chosen else ""
            lines.append([name + mark, *(_cell(runs, a) for a in ACCELERATIONS)])
        for name, values in self.published.items():
            cells = (f"{accuracy:.4f}; {psnr:.2f}" for psnr, accuracy in values)
            lines.append([f"published: {name}", *cells])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{table}\n\n{_floors(found)}"


def chosen_beta(found: Mapping[str, Figures]) -> str | None:
    """The row of the largest beta whose accuracy on validation images, over both accelerations, is
    no more than 1.96 standard errors below that of beta = 0; the smallest one where none is. None
    while a row is missing."""
    names = [name for name in _ARMS if name.startswith("InfoMRI") and name != _ZERO]
    if not all(_of(found, name) for name in (_ZERO, *names)):
        return None
    accuracy = {name: _validation(found, name) for name in (_ZERO, *names)}
    p = accuracy[_ZERO]
    n = sum(run["validation images"] for run in _of(found, _ZERO)) / len(_of(found, _ZERO))
    least = p - 1.96 * (p * (1 - p) / n) ** 0.5
    kept = [name for name in names if accuracy[name] >= least]
    return kept[-1] if kept else names[0]


def _validation(found: Mapping[str, Figures], name: str) -> float:
    runs = _of(found, name)
    return float(np.mean([_mean(runs, f"{a:g}x | accuracy, validation") for a in ACCELERATIONS]))


def _run(
    digits: Callable[[], Digits],
    arm: Mapping[str, Any],
    schedule: Schedule,
    seed: int,
    device: str,
) -> Callable[[], Figures]:
    def run() -> Figures:
        plan = plan_of(digits(), arm, schedule, seed)
        model = trained(digits(), plan, device)
        return scored(digits(), plan, model, schedule, device)

    return run


def _of(found: Mapping[str, Figures], name: str) -> list[Figures]:
    return [figures for key, figures in found.items() if key.split(" | ")[0] == name]


def _mean(runs: Sequence[Figures], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def _cell(runs: Sequence[Figures], acceleration: float) -> str:
    at = f"{acceleration:g}x | "
    quality = {name: _mean(runs, at + name) for name in (PRINTED, *STRONG)}
    best = max(quality, key=lambda name: quality[name])
    accuracy, told = _mean(runs, f"{at}accuracy, test"), _mean(runs, f"{at}diagnosis")
    strongest = f"{quality[best]:.2f} ({best})"
    return f"{accuracy:.4f}; {quality[PRINTED]:.2f}, {strongest}, {told:.2f}"


def _floors(found: Mapping[str, Figures]) -> str:
    runs = list(found.values())
    if not runs:
        return ""
    prior = max(_mean(runs, f"{ACCELERATIONS[0]:g}x | {name}") for name in FLOORS)
    return f"Nothing measured: {prior:.2f} dB, the best of one grey, black, and mean images."
