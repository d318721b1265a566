"""Why federation diagnoses worse than central training: one arm, beta = 0, one change at a time.

``python -m benchmarks.rounds --data slices:FILE.h5 --out FOLDER [--steps 408] [--only NAME ...]``:
the hospitals of the file's own column, each with as many local steps in all (``--steps``), however
they are cut into rounds; central training takes as many steps as all hospitals together. AUROC of
the central band on validation patients, groups of patients behind the intervals. Every finished
row is kept in FOLDER; the same command continues.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tomli_w
import torch
from rich.console import Console

from fl_server.aggregation.strategy import ServerState, aggregate, step
from fl_server.demo.plan import DemoOptions, design
from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.benchmark.benchmark import Benchmark, Budget, Figures, Request, Row
from infomri_core.benchmark.runner import run_benchmark
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.data.pool import pool
from infomri_core.messages import EvaluateTask, Scores, TrainTask
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.system.progress import ConsoleProgress

ACCELERATIONS = (16.0, 32.0, 64.0)
AVERAGED = 0.25
"""Share of the last rounds whose weights are averaged in the second figure of a row."""


@dataclass(frozen=True)
class Change:
    """One way of training. ``local_steps`` cut a site's steps into rounds; ``training`` and
    ``aggregation`` are settings of the plan; ``equal`` weighs sites alike and not by slices."""

    words: str
    local_steps: int = 68
    training: Mapping[str, float] = field(default_factory=dict)
    aggregation: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "infomri"
    central: bool = False
    equal: bool = False


CHANGES = {
    "central": Change("all slices at one place, as many samples", central=True),
    "long": Change("rounds of 68 local steps"),
    "short": Change("rounds of 17 local steps", 17),
    "shorter": Change("rounds of 8 local steps", 8),
    "slow": Change("rounds of 68, both rates a third", training={"learning_rate": 3e-4}),
    "slow-policy": Change(
        "rounds of 68, the policy's rate a tenth", training={"policy_learning_rate": 1e-3}
    ),
    "short-slow-policy": Change(
        "rounds of 17, the policy's rate a tenth", 17, {"policy_learning_rate": 1e-3}
    ),
    "equal": Change("rounds of 17, hospitals weighed alike", 17, equal=True),
    "proximal": Change("rounds of 68, FedProx .01", aggregation={"strategy": "fedprox"}),
    "fedadam": Change(
        "rounds of 17, FedAdam 1e-3 at the server",
        17,
        aggregation={"strategy": "fedadam", "server_learning_rate": 1e-3},
    ),
    "fixed": Change("rounds of 68, uniform masks: no policy to average", sampler="uniform"),
    "fixed-central": Change(
        "uniform masks, all slices at one place", sampler="uniform", central=True
    ),
}


class Rounds(Benchmark):
    """The changes as rows of one seed each."""

    name = "rounds"
    reproduces = "no table: federation against central training at equal samples"
    data = "slices: of two or more hospitals"
    cost: ClassVar[Mapping[Budget, str]] = {
        "small": "5 to 10 minutes a row on one core at 408 steps",
        "full": "the same",
    }

    def __init__(self, steps: int, names: Sequence[str]) -> None:
        self._steps, self._names = steps, names

    def rows(self, request: Request) -> Sequence[Row]:
        """One row a change and seed."""
        study = design(request.data, DemoOptions())
        sites = {name: open_dataset(uri) for name, uri in study.sites.items()}
        audit = open_dataset(study.audit)
        return [
            Row(
                f"{name}, {self._steps} steps, seed {seed}",
                CHANGES[name].words,
                lambda name=name, seed=seed: self._run(CHANGES[name], seed, sites, audit),
            )
            for seed in request.seeds
            for name in self._names
        ]

    def table(self, found: Mapping[str, Figures]) -> str:
        """AUROC at each acceleration, of the last weights and of the average of the last."""
        heads = [f"{a:g}x" for a in ACCELERATIONS]
        lines = ["| row | CE | " + " | ".join(heads + [f"{h}, averaged" for h in heads]) + " |"]
        lines.append("| --- " * (2 + 2 * len(heads)) + "|")
        for key, figures in found.items():
            cells = [
                f"{figures[k]:.3f} ({figures[k + ' low']:.2f}-{figures[k + ' high']:.2f})"
                if k in figures
                else "-"
                for k in [*heads, *(f"{h}, averaged" for h in heads)]
            ]
            lines.append(f"| {key} | {figures['ce']:.3f} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _run(
        self, change: Change, seed: int, sites: Mapping[str, SliceDataset], audit: SliceDataset
    ) -> Figures:
        parts = {"pooled": pool(list(sites.values()))} if change.central else dict(sites)
        rounds = max(1, round(self._steps / change.local_steps))
        steps = self._steps // rounds * (len(sites) if change.central else 1)
        plan = make_plan(audit, change, seed, rounds, steps)
        with tempfile.TemporaryDirectory() as folder:
            here = [Site(data, name, Path(folder) / name) for name, data in parts.items()]
            return train(plan, here, audit, change.equal)


def make_plan(
    data: SliceDataset, change: Change, seed: int, rounds: int, local_steps: int
) -> Plan:
    """The plan of one change: one arm, no attack."""
    table = {
        "study": {"name": "rounds", "seed": seed},
        "task": {
            "labels": list(data.table.label_names),
            "shape": list(data.shape),
            "exclusive": data.table.exclusive,
        },
        "measurement": {"ratio_range": [0.003, 0.08], "accelerations": list(ACCELERATIONS)},
        "model": {"width": 16},
        "training": {
            "rounds": rounds,
            "local_steps": local_steps,
            "batch_size": 16,
            "flips": True,
            **change.training,
        },
        "evaluation": {"attacks": [], "noise": False, "position_band": [0.3, 0.8]},
        "aggregation": dict(change.aggregation),
        "arms": [{"sampler": change.sampler, "seed": seed}],
    }
    return parse_plan(tomli_w.dumps(table))


def train(plan: Plan, sites: Sequence[Site], audit: SliceDataset, equal: bool) -> Figures:
    """The figures of the plan's arm after the last round, and of the mean of its last weights."""
    state = initial_state(plan, public_moments(audit.images(np.arange(len(audit)))).variance)
    name, kept = plan.arms[0].name, list[np.ndarray]()
    server: ServerState = {}
    weights, ce = state.arms[name], math.nan
    for number in range(1, plan.training.rounds + 1):
        task = TrainTask(plan.text, number, math.inf, state.variance, {name: weights})
        total = aggregate(plan.aggregation, len(weights))
        losses = list[tuple[float, int]]()
        for site in sites:
            reply = site.train(plan, task, lambda: False)
            total.add(reply.arms[name], 1 if equal else reply.n_samples)
            losses.append((reply.losses[name]["ce"], reply.n_samples))
        weights, server = step(plan.aggregation, weights, total.value(), server)
        ce = sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
        if number > (1 - AVERAGED) * plan.training.rounds:
            kept.append(weights)
    mean = np.mean(kept, axis=0, dtype=np.float64).astype(np.float32)
    found = {f"{a:g}x": s for a, s in scored(plan, sites, name, weights).items()}
    found |= {f"{a:g}x, averaged": s for a, s in scored(plan, sites, name, mean).items()}
    figures = {"ce": ce}
    for key, scores in found.items():
        e = scores.task.auroc_estimate()
        values = {key: e.value, f"{key} low": e.low, f"{key} high": e.high}
        figures |= {k: math.nan if v is None else v for k, v in values.items()}
    return figures


def scored(
    plan: Plan, sites: Sequence[Site], name: str, weights: np.ndarray
) -> dict[float, Scores]:
    """All sites' scores by acceleration, their groups side by side."""
    task = EvaluateTask(plan.text, plan.training.rounds, math.inf, {name: weights}, {})
    merged: dict[float, Scores] = {}
    for site in sites:
        for (_, at), scores in site.evaluate(plan, task, lambda: False).scores.items():
            merged[at] = merged[at].merge(scores) if at in merged else scores
    return merged


def main() -> None:
    """Run the rows that are missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=408)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = Rounds(options.steps, options.only)
    request = Request(options.data, n_seeds=options.seeds)
    progress = ConsoleProgress(Console(stderr=True))
    print(run_benchmark(benchmark, request, options.out, progress))


if __name__ == "__main__":
    main()
