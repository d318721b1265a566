"""How much longer a step of a reconstruction arm takes than one of the bare U-Net.

``python -m benchmarks.reconstruction_step [--sizes 64 128] [--widths 8 16 32] [--threads 1]``:
sampler, masks, noise, both Fourier transforms, likelihood and optimizer on one side; on the other
the same network on k-space that lies ready, with a mean squared error. Both kinds of step
alternate, and the ratio is that of the least processor time of each, so that other work on the
machine counts little.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
import tomli_w
import torch

from benchmarks.markdown import table_line
from infomri_core.arms.build import build_model
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.reconstruction.unet import UNet
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.training.fit import make_optimizer, plain_gradients

N = 16


def make_plan(size: int, width: int) -> Plan:
    """A learned sampler with fastMRI's U-Net."""
    return parse_plan(
        tomli_w.dumps(
            {
                "study": {"name": "timing"},
                "task": {"kind": "reconstruction", "shape": [size, size]},
                "model": {"width": width},
                "training": {"batch_size": N},
                "arms": [{"sampler": "infomri", "beta": "-inf"}],
            }
        )
    )


def arm_step(plan: Plan, images: torch.Tensor) -> Callable[[], None]:
    """A whole step of the arm, as a site takes it."""
    variance = torch.rand(2, *plan.task.shape, generator=torch.Generator().manual_seed(1)) + 0.01
    model = build_model(plan, plan.arms[0], variance).train()
    optimizer = make_optimizer(model, plan)

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return images[rows], images[rows]

    penalty = MarginalEntropy(variance, plan.measurement.noise_std)
    gradients = plain_gradients(plan, penalty, N, fetch, (0,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients(model, plan.arms[0].beta)
        optimizer.step()

    return step


def bare_step(plan: Plan, images: torch.Tensor) -> Callable[[], None]:
    """The network alone: forward, a mean squared error, backward, Adam."""
    network = UNet(plan.task.shape, plan.model.width).train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    masks = (torch.rand(images.shape, generator=torch.Generator().manual_seed(2)) < 0.1).float()
    measured = fft2c(images) * masks

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (network(measured, masks)[:, 0] - images).square().mean().backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Processor seconds of one step."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = ["size", "width", "arm, CPU s", "bare U-Net, CPU s", "ratio"]
    print(table_line(names), table_line(["---"] * len(names)), sep="\n")
    for size, width in itertools.product(arguments.sizes, arguments.widths):
        torch.manual_seed(0)
        plan, images = make_plan(size, width), torch.rand(N, size, size)
        kinds = (arm_step(plan, images), bare_step(plan, images))
        times = [[seconds(step) for step in kinds] for _ in range(arguments.steps + 1)]
        arm, bare = (min(column) for column in zip(*times[1:]))
        row = [f"{size}", f"{width}", f"{arm:.3f}", f"{bare:.3f}", f"{arm / bare:.2f}"]
        print(table_line(row), flush=True)


if __name__ == "__main__":
    main()
