"""How much longer a step of DP-SGD takes than a plain one.

``python -m benchmarks.dp_step [--threads 2] [--steps 5] [--sizes 64 128] [--widths 16 64]``: one
learned arm with beta > 0, the same number of slices in both kinds of step (every unit takes part).
Plain and private steps alternate, and the ratio is that of the best of each, so that other work on
the machine counts little; the ratio of processor time is beside it.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
import tomli_w
import torch

from infomri_core.arms.build import build_model
from infomri_core.dp.dp import PrivateGradients
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.training.fit import Gradients, make_optimizer, plain_gradients

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
                "privacy": {"noise_multiplier": 1.0, "rate": 1.0, "lot": N, "unit": "slice"},
            }
        )
    )


def step_of(plan: Plan, private: bool) -> Callable[[], None]:
    """A whole optimizer step of either kind."""
    size = plan.task.shape[0]
    variance = torch.rand(2, size, size, generator=torch.Generator().manual_seed(1)) + 0.01
    model = build_model(plan, plan.arms[0], variance)
    images, labels = torch.rand(N, size, size), (torch.rand(N, 2) < 0.5).float()

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[rows], labels[rows]

    penalty = MarginalEntropy(variance, plan.measurement.noise_std)
    if private:
        units = [np.array([i]) for i in range(N)]
        stream = SecretStream.fresh()
        gradients: Gradients = PrivateGradients(plan, penalty, units, fetch, stream)
    else:
        gradients = plain_gradients(plan, penalty, N, fetch, ("timing",))
    optimizer = make_optimizer(model, plan)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients(model, BETA)
        optimizer.step()

    return step


def best_of_each(steps: list[Callable[[], None]], n_times: int) -> np.ndarray:
    """(2, len(steps)): the shortest wall and processor time of each, taken in turns, after one
    call of each that is not timed."""
    times = np.full((n_times + 1, 2, len(steps)), np.inf)
    for i in range(n_times + 1):
        for j, step in enumerate(steps):
            wall, processor = time.perf_counter(), time.process_time()
            step()
            times[i, :, j] = time.perf_counter() - wall, time.process_time() - processor
    best: np.ndarray = times[1:].min(0)
    return best


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("image  width  plain ms  private ms  ratio  ratio of processor time")
    for size, width in itertools.product(options.sizes, options.widths):
        plan = make_plan(size, width)
        (plain, private), processor = best_of_each(
            [step_of(plan, private) for private in (False, True)], options.steps
        )
        print(
            f"{size:5d}  {width:5d}  {1e3 * plain:8.1f}  {1e3 * private:10.1f}  "
            f"{private / plain:5.2f}  {processor[1] / processor[0]:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
