"""What differential privacy costs a diagnosis: AUROC against epsilon on one pooled phantom site.

``python -m benchmarks.dp_utility [--noise 0 0.5 1 2] [--rounds 3] [--steps 40]``: one learned arm
with beta = 0 and the uniform one, the same plan but for its noise; 0 is training without privacy.
AUROC is the mean over labels on validation patients at 4x, with its interval by groups.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import tomli_w
import torch

from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.dp.accounting import study_epsilon
from infomri_core.messages import EvaluateTask, TrainTask
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, without_noise
from infomri_core.site.site import Site

DATA = "phantom:?patients=240&slices=2&size=32&seed=11&hospital=pooled&prevalence=0.4"
AUDIT = "phantom:?patients=24&slices=2&size=32&seed=9&hospital=centre&prevalence=0.4"
LOT = 32


def make_plan(data: SliceDataset, noise: float, rounds: int, steps: int) -> Plan:
    """The plan at one noise multiplier; at 0 without ``[privacy]``."""
    table = {
        "study": {"name": "utility", "seed": 1},
        "task": {
            "labels": list(data.table.label_names),
            "shape": list(data.shape),
            "exclusive": data.table.exclusive,
        },
        "measurement": {"ratio_range": [0.1, 0.3], "accelerations": [4.0]},
        "model": {"width": 8},
        "training": {"rounds": rounds, "local_steps": steps, "batch_size": LOT},
        "evaluation": {"attacks": []},
        "arms": [{"sampler": "infomri"}, {"sampler": "uniform"}],
    }
    if noise > 0:
        table["privacy"] = {"noise_multiplier": noise, "rate": 0.1, "lot": LOT}
    return parse_plan(tomli_w.dumps(table))


def scores(plan: Plan, data: SliceDataset, audit: SliceDataset, folder: Path) -> list[str]:
    """'AUROC (low to high)' of each arm after the last round."""
    site = Site(data, "pooled", folder, secret="utility")
    start = initial_state(plan, public_moments(audit.images(np.arange(len(audit)))).variance)
    arms = start.arms
    for number in range(1, plan.training.rounds + 1):
        task = TrainTask(plan.text, number, math.inf, start.variance, arms)
        reply = site.train(plan, task, lambda: False)
        arms = {**arms, **reply.arms}
    scored = EvaluateTask(plan.text, plan.training.rounds, math.inf, arms, {})
    found = site.evaluate(without_noise(plan), scored, lambda: False).scores
    texts = []
    for arm in plan.arms:
        auroc = found[arm.name, 4.0].task.auroc_estimate()
        texts.append(f"{_two(auroc.value)} ({_two(auroc.low)} to {_two(auroc.high)})")
    return texts


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    """Print one line a noise multiplier, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, audit = open_dataset(DATA), open_dataset(AUDIT)
    n = len(np.unique(data.table.patients[data.table.split == "train"]))
    print(f"{n} training patients, lot {LOT}, {options.rounds} rounds of {options.steps} steps")
    print("| noise | epsilon | AUROC learned | AUROC uniform | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for noise in options.noise:
        plan = make_plan(data, noise, options.rounds, options.steps)
        epsilon = study_epsilon(plan, len(plan.arms), options.rounds)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            learned, uniform = scores(plan, data, audit, Path(folder))
        said = "none" if epsilon is None else f"{epsilon:.1f}"
        seconds = time.perf_counter() - started
        print(f"| {noise:g} | {said} | {learned} | {uniform} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
