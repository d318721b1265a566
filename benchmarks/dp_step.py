"""How much longer a step of DP-SGD takes than a plain one.

``python -m benchmarks.dp_step [--threads 2] [--steps 10]``: one learned arm with beta > 0, the
same number of slices in both kinds of step (every unit takes part), best of the steps timed, so
that other work on the machine counts little.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import tomli_w
import torch

from infomri_core.plan import Plan, parse_plan
from infomri_core.privacy.dp import PrivateGradients, secret_generator
from infomri_core.tasks.classification import build_model
from infomri_core.train import make_optimizer, plain_gradients

N = 32
BETA = 1e-4


def make_plan(size: int, width: int) -> Plan:
    """A plan whose every step takes all ``N`` slices."""
    return parse_plan(
        tomli_w.dumps(
            {
                "study": {"name": "timing"},
                "task": {"labels": ["tear", "oedema"], "shape": [size, size]},
                "model": {"width": width},
                "training": {"batch_size": N},
                "arms": [{"sampler": "infomri", "suppression": "marginal", "beta": BETA}],
                "privacy": {"noise_multiplier": 1.0, "lot": N, "unit": "slice"},
            }
        )
    )


def seconds_a_step(plan: Plan, private: bool, n_steps: int) -> float:
    """The best time of a whole optimizer step."""
    size = plan.task.shape[0]
    variance = torch.rand(2, size, size, generator=torch.Generator().manual_seed(1)) + 0.01
    model = build_model(plan, plan.arms[0], variance)
    images, labels = torch.rand(N, size, size), (torch.rand(N, 2) < 0.5).float()

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[rows], labels[rows]

    if private:
        units = [np.array([i]) for i in range(N)]
        generator = secret_generator("timing", "cpu")
        gradients = PrivateGradients(plan, variance, units, fetch, generator)
    else:
        gradients = plain_gradients(plan, variance, N, fetch, ("timing",))
    optimizer = make_optimizer(model, plan.training)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients(model, BETA)
        optimizer.step()

    return best(step, n_steps)


def best(step: Callable[[], None], n_steps: int) -> float:
    """The shortest of ``n_steps`` calls, after two that are not timed."""
    times = []
    for _ in range(n_steps + 2):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times[2:])


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("image  width  plain ms  private ms  ratio")
    for size, width in ((32, 16), (64, 16), (128, 16), (128, 32)):
        plan = make_plan(size, width)
        plain = seconds_a_step(plan, False, options.steps)
        private = seconds_a_step(plan, True, options.steps)
        print(
            f"{size:5d}  {width:5d}  {1e3 * plain:8.1f}  {1e3 * private:10.1f}  "
            f"{private / plain:5.2f}"
        )


if __name__ == "__main__":
    main()
