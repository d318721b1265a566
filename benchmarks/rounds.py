"""Why federation diagnoses worse than central training: one arm, beta = 0, one change at a time.

``python -m benchmarks.rounds --data URI --out FOLDER [--steps 408] [--rounds 24]
[--only NAME ...] [--seeds 1] [--width 8] [--size 48] [--others]``: the demo's hospitals, steps and
first arm on that data, in 4 rounds unless told otherwise; at each site as many samples in all,
however they are cut into steps and rounds; central training takes as many as all hospitals
together. ``--others`` scores phantoms on patients of other seeds than the demo's, so that no
choice is made on the demo's validation patients. Every finished row is kept in FOLDER; the same
command continues.
"""

import argparse
import math
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tomli_w
import torch
from rich.console import Console

from benchmarks.round_changes import CHANGES, Change
from fl_server.aggregation.strategy import ServerState, aggregate, step
from fl_server.demo.plan import DemoOptions, design, with_option
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
from infomri_core.training.optimizer_store import OptimizerStore

AVERAGED = 0.25
"""Share of the last rounds whose weights are averaged in the second figure of a row."""
_OTHERS = 100


@dataclass(frozen=True)
class Setting:
    """What a user says of all rows; None takes the demo's own."""

    rounds: int = 4
    steps: int | None = None
    width: int | None = None
    size: int | None = None
    others: bool = False


@dataclass(frozen=True)
class Hospitals:
    """Where a row trains and what it is scored on, the centre's audit set, and the demo's plan."""

    training: Mapping[str, SliceDataset]
    scored: Mapping[str, SliceDataset]
    audit: SliceDataset
    table: Mapping[str, Any]


class Rounds(Benchmark):
    """The changes as rows of one seed each."""

    name = "rounds"
    reproduces = "no table: federation against central training at equal samples"
    data = "phantom: or slices: of two or more hospitals"
    cost: ClassVar[Mapping[Budget, str]] = {
        "small": "one to four minutes a row on one core",
        "full": "the same",
    }

    def __init__(self, names: Sequence[str], setting: Setting) -> None:
        self._names, self._setting = names, setting

    def rows(self, request: Request) -> Sequence[Row]:
        """One row a change and seed."""
        s = self._setting
        hospitals = find_hospitals(request.data, s)
        training = hospitals.table["training"]
        rounds = s.rounds
        steps = s.steps or training["rounds"] * training["local_steps"]
        changed = "".join(f", {k} {v}" for k, v in (("width", s.width), ("size", s.size)) if v)
        which = changed + (", others" if s.others else "")
        return [
            Row(
                f"{name}, {rounds} x {steps // rounds} steps, seed {seed}{which}",
                CHANGES[name].words,
                lambda name=name, seed=seed: run(CHANGES[name], seed, rounds, steps, hospitals),
            )
            for seed in request.seeds
            for name in self._names
        ]

    def table(self, found: Mapping[str, Figures]) -> str:
        """AUROC at each acceleration, of the last weights and of the average of the last."""
        heads = list(dict.fromkeys(k for f in found.values() for k in f if k.endswith("x")))
        lines = ["| row | CE | " + " | ".join(f"{h} (95 %), averaged" for h in heads) + " |"]
        lines.append("| --- " * (2 + len(heads)) + "|")
        for key, figures in found.items():
            cells = [
                f"{figures[h]:.3f} ({figures[h + ' low']:.3f}-{figures[h + ' high']:.3f}), "
                f"{figures[h + ', averaged']:.3f}"
                for h in heads
            ]
            lines.append(f"| {key} | {figures['ce']:.3f} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def find_hospitals(data: str, setting: Setting) -> Hospitals:
    """The demo's hospitals on ``data``, phantoms in the size that ``setting`` says."""
    study = design(data, DemoOptions(width=setting.width))
    size = f"size={setting.size}" if setting.size else ""
    uris = {name: with_option(uri, size) if size else uri for name, uri in study.sites.items()}
    audit = open_dataset(with_option(study.audit, size) if size else study.audit)
    training = {name: open_dataset(uri) for name, uri in uris.items()}
    scored = training
    if setting.others:
        scored = {name: open_dataset(_other(uri)) for name, uri in uris.items()}
    table = tomllib.loads(study.plan)
    table["task"]["shape"] = list(audit.shape)
    return Hospitals(training, scored, audit, table)


def _other(uri: str) -> str:
    """A hospital's phantoms of another seed, 300 of them for validation."""
    return re.sub(
        "seed=([0-9]+)",
        lambda found: f"seed={int(found[1]) + _OTHERS}",
        re.sub("patients=[0-9]+", "patients=1500", uri),
    )


def run(change: Change, seed: int, rounds: int, steps: int, hospitals: Hospitals) -> Figures:
    """One row: ``steps`` of the plan's batch at each site, in ``rounds`` before any change."""
    central = change.central or change.large_batch
    parts, scored = dict(hospitals.training), dict(hospitals.scored)
    n_sites = len(parts)
    if central:
        parts = {"pooled": pool(list(parts.values()))}
    plan = make_plan(change, seed, rounds, steps, n_sites, hospitals.table)
    with tempfile.TemporaryDirectory() as folder:
        here = [Site(data, name, Path(folder) / name) for name, data in parts.items()]
        last = Path(folder) / "scored"
        judges = [Site(data, name, last / name) for name, data in scored.items()]
        return train(plan, here, judges, Path(folder), hospitals.audit, change)


def make_plan(
    change: Change, seed: int, rounds: int, steps: int, n_sites: int, table: Mapping[str, Any]
) -> Plan:
    """The plan of one change: the first arm of the demo's ``table``, no attack, exact scores."""
    training, model = dict(table["training"]), dict(table["model"])
    per_step = change.split / (n_sites if change.large_batch else 1)
    local_steps = steps // rounds // change.cut * change.split * (n_sites if change.central else 1)
    arm = {k: v for k, v in table["arms"][0].items() if k != "alone"}
    made = {
        **table,
        "study": {"name": "rounds", "seed": seed},
        "model": model | dict(change.model),
        "training": training
        | {
            "rounds": rounds * change.cut,
            "local_steps": local_steps,
            "batch_size": round(training["batch_size"] / per_step),
            "policy_learning_rate": 1e-2 * change.policy_rate,
            "momentum": "global" if change.moments == "global" else "local",
            "quorum": 1,
        },
        "evaluation": {**table["evaluation"], "attacks": [], "noise": False},
        "aggregation": {**change.aggregation, "rate_scale": float(change.rate)},
        "arms": [arm | {"seed": seed}],
    }
    return parse_plan(tomli_w.dumps(made))


def train(
    plan: Plan,
    sites: Sequence[Site],
    judges: Sequence[Site],
    folder: Path,
    audit: SliceDataset,
    change: Change,
) -> Figures:
    """The figures of the plan's arm after the last round, and of the mean of its last weights, on
    the validation patients of ``judges``; the sites keep their optimizers below ``folder``."""
    state = initial_state(plan, public_moments(audit.images(np.arange(len(audit)))).variance)
    name, kept = plan.arms[0].name, list[np.ndarray]()
    server: ServerState = {}
    velocity = np.zeros_like(state.arms[name])
    stores = [OptimizerStore(folder / site.name) for site in sites]
    weights, ce = state.arms[name], math.nan
    for number in range(1, plan.training.rounds + 1):
        task = TrainTask(plan.text, number, math.inf, state.variance, {name: weights})
        total = aggregate(plan.aggregation, len(weights))
        losses = list[tuple[float, int]]()
        gaps = 0.0
        for site in sites:
            reply = site.train(plan, task, lambda: False)
            total.add(reply.arms[name], 1 if change.equal else reply.n_samples)
            gaps += float(np.square(reply.arms[name] - weights, dtype=np.float64).sum())
            losses.append((reply.losses[name]["ce"], reply.n_samples))
        share_moments(stores, plan, name, number, change.moments)
        stepped, server = step(plan.aggregation, weights, total.value(), server)
        gap = stepped - weights
        rate = change.server_rate
        if change.extrapolated:
            rate = max(1.0, gaps / (2 * len(sites) * float(np.square(gap).sum())))
        velocity = change.momentum * velocity + gap
        weights = (weights + np.float32(rate) * velocity).astype(np.float32)
        ce = sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
        if number > (1 - AVERAGED) * plan.training.rounds:
            kept.append(weights)
    mean = np.mean(kept, axis=0, dtype=np.float64).astype(np.float32)
    figures = {"ce": ce}
    for (at, scores), (_, averaged) in zip(
        scored(plan, judges, name, weights).items(), scored(plan, judges, name, mean).items()
    ):
        e = scores.task.auroc_estimate()
        values = {"": e.value, " low": e.low, " high": e.high}
        values[", averaged"] = averaged.task.auroc_estimate().value
        figures |= {f"{at:g}x{k}": math.nan if v is None else v for k, v in values.items()}
    return figures


def share_moments(
    stores: Sequence[OptimizerStore], plan: Plan, name: str, number: int, how: str
) -> None:
    """What becomes of the sites' Adam states after a round (:class:`Change`, ``moments``)."""
    if how in ("kept", "global"):
        return
    states = [store.load(plan.digest, name, number) or {} for store in stores]
    keys = {"mean": ("mean", "square"), "first": ("mean",), "square": ("square",)}.get(how, ())
    common = {k: np.mean([s[k] for s in states], axis=0, dtype=np.float64) for k in keys}
    common32 = {k: v.astype(np.float32) for k, v in common.items()}
    for store, state in zip(stores, states):
        store.save(plan.digest, name, number, {} if how == "fresh" else state | common32)


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
    parser.add_argument("--steps", type=int, help="local steps of a site in all")
    parser.add_argument("--rounds", type=int, default=4, help="before a change cuts them")
    parser.add_argument("--width", type=int)
    parser.add_argument("--size", type=int, help="pixels of phantoms")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = (options.rounds, options.steps, options.width, options.size, options.others)
    benchmark = Rounds(options.only, Setting(*chosen))
    request = Request(options.data, n_seeds=options.seeds)
    progress = ConsoleProgress(Console(stderr=True))
    print(run_benchmark(benchmark, request, options.out, progress))


if __name__ == "__main__":
    main()
