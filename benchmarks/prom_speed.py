"""How much less ProM costs here than by its published schedule, and the loss that each ends at.

``python -m benchmarks.prom_speed [--size 64] [--accelerations 8 16] [--threads 1]``: both find a
mask of the same phantoms on the same cores, one after the other. The published schedule (2,500
steps of 32 images with 4 masks, plain Adam) runs in this code, whose projection is exact and
sorted, so what the published program's bisection costs is not counted. Cost is processor time, and
the loss is the mean squared error of the zero-filled images by the mode of the probabilities.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.markdown import table_line
from infomri_core.data import open_dataset
from infomri_core.physics.kspace import fft2c
from infomri_core.prom.options import ProMOptions
from infomri_core.prom.solve import Solution, solve
from infomri_core.reconstruction.linear import zero_filled


def cost_of(images: torch.Tensor, options: ProMOptions) -> tuple[float, float, Solution]:
    """Processor and wall seconds of one run, and its solution."""
    cpu, wall = time.process_time(), time.monotonic()
    solution = solve(images, options)
    return time.process_time() - cpu, time.monotonic() - wall, solution


def loss_of(images: torch.Tensor, solution: Solution) -> float:
    """Mean squared error of the zero-filled images."""
    return float((zero_filled(fft2c(images) * solution.mask) - images).square().mean())


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--accelerations", type=float, nargs="+", default=[8.0, 16.0])
    parser.add_argument("--patients", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    uri = f"phantom:?patients={arguments.patients}&slices=1&size={arguments.size}&seed=1"
    images = open_dataset(uri).images(np.arange(arguments.patients))
    rows = []
    for acceleration in arguments.accelerations:
        kinds = {
            "here": ProMOptions(acceleration),
            "published schedule": ProMOptions.published(acceleration),
        }
        found = {name: cost_of(images, options) for name, options in kinds.items()}
        for name, (cpu, wall, solution) in found.items():
            ratio = found["published schedule"][0] / cpu
            loss = loss_of(images, solution)
            numbers = [f"{cpu:.1f}", f"{wall:.1f}", f"{loss:.3e}", f"{ratio:.1f}"]
            rows.append([f"{acceleration:g}x", name, *numbers])
    names = ["at", "schedule", "CPU s", "s", "mean squared error", "times less CPU"]
    for row in (names, ["---"] * len(rows[0]), *rows):
        print(table_line(row))


if __name__ == "__main__":
    main()
