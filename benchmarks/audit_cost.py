"""What an audit costs beside the training it audits, and the most memory it holds.

``python -m benchmarks.audit_cost [--size 128] [--patients 50] [--threads 2]``: the arms of a study
on phantoms, one site's training of them timed by a few steps and multiplied by the schedule, the
attackers fitted and the audit patients scored as in a study. Seed 0.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w
import torch

from benchmarks.markdown import table_line
from fl_server.audit.adversaries import fit_audit
from fl_server.settings import Audit
from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateTask, TrainTask
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, without_noise
from infomri_core.site.site import Site

TIMED_STEPS = 4
NEVER = 4e9
BEGUN = time.monotonic()


def make_plan(options: argparse.Namespace, labels: Sequence[str], local_steps: int) -> Plan:
    """Five arms, as the demo's; ``local_steps`` of its schedule are to be run."""
    arms = [
        {"sampler": "infomri"},
        {"sampler": "infomri", "suppression": "marginal", "beta": 1e-5},
        {"sampler": "infomri", "suppression": "marginal", "beta": 1e-4},
        {"sampler": "uniform"},
        {"sampler": "variable-density"},
    ]
    table = {
        "study": {"name": "audit-cost"},
        "task": {"labels": list(labels), "shape": [options.size, options.size]},
        "training": {"rounds": 1, "local_steps": local_steps},
        "model": {"width": options.width},
        "evaluation": {"attacks": list(options.attacks)},
        "arms": arms,
    }
    return parse_plan(tomli_w.dumps(table))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of training by schedule, of fitting and of scoring; GiB at most."""
    uri = f"phantom:?patients={options.patients}&slices=4&size={options.size}"
    site_data, audit_set = open_dataset(f"{uri}&seed=1"), open_dataset(f"{uri}&seed=9")
    labels = site_data.table.label_names
    plan = make_plan(options, labels, TIMED_STEPS)
    public = public_moments(audit_set.images(np.arange(len(audit_set))))
    state = initial_state(plan, public.variance)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(site_data, "north", Path(folder))
        started = time.monotonic()
        site.train(plan, TrainTask(plan.text, 1, NEVER, state.variance, state.arms), lambda: False)
        training = (time.monotonic() - started) / TIMED_STEPS * options.steps
        before = peak()
        started = time.monotonic()
        settings, device = Audit(f"{uri}&seed=9"), torch.device("cpu")
        fitted = fit_audit(plan, settings, audit_set, state.arms, device, report)
        fitting = time.monotonic() - started
        started = time.monotonic()
        task = EvaluateTask(plan.text, 1, NEVER, state.arms, fitted.adversaries.to_arrays())
        site.evaluate(without_noise(plan), task, lambda: False)
        scoring = time.monotonic() - started
    return {
        "training, s": training,
        "fitting, s": fitting,
        "scoring, s": scoring,
        "audit / training": (fitting + scoring) / training,
        "peak before, GiB": before,
        "peak, GiB": peak(),
    }


def peak() -> float:
    """The most memory this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(sentence: str) -> None:
    """Progress, apart from the table."""
    print(f"{time.monotonic() - BEGUN:6.0f} s  {sentence}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table of one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--patients", type=int, default=50, help="of site and audit set, 4 slices")
    parser.add_argument("--steps", type=int, default=1500, help="of the schedule, an arm")
    parser.add_argument("--width", type=int, default=64, help="of the ResNet18; 64 as published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attacks", nargs="+", default=["lmmse", "cnn", "unet"])
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = measure(options)
    head = ["size", "width", "audit slices", "steps an arm", "threads", *found]
    given = (options.size, options.width, 4 * options.patients, options.steps, options.threads)
    values = [*map(str, given), *(f"{value:.2f}" for value in found.values())]
    print("\n".join(map(table_line, (head, ["---"] * len(head), values))))


if __name__ == "__main__":
    main()
