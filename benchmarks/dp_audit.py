"""What inserted canaries prove of epsilon, beside what the accountant says: docs/results.md.

``python -m benchmarks.dp_audit [--steps 20] [--seed 0]``: DP-SGD on phantoms of 30 patients at
32x32, ResNet18 of base width 4, a fifth of the units a step, 500 canaries.
"""

import argparse
from typing import Any

import numpy as np
import tomli_w
import torch

from infomri_core.data import open_dataset
from infomri_core.dp_audit.canaries_training import audit_dp
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.reading import parse_plan

NOISE_MULTIPLIERS = (0.6, 1.0, 2.0)
HEAD = "noise | rate | steps | epsilon, proved | accounted | right guesses | control proves"


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        f"{found['noise_multiplier']:g}",
        f"{found['sampling_rate']:.2f}",
        str(found["steps"]),
        f"{found['epsilon_lower_bound']:.2f}",
        f"{found['epsilon_accounted']:.2f}",
        f"{found['guesses_right']} of {found['guesses']}",
        f"{found['control']['epsilon_lower_bound']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print one line a noise multiplier."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = open_dataset("phantom:?patients=30&slices=2&size=32&seed=9&hospital=centre")
    images = data.images(np.arange(len(data)))
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    variance = KSpaceMoments.from_kspace(fft2c(images.double())).variance.float()
    print(f"| {HEAD} |\n|{' --- |' * len(HEAD.split('|'))}", flush=True)
    for noise_multiplier in NOISE_MULTIPLIERS:
        table = {
            "study": {"name": "dp-audit", "seed": options.seed},
            "task": {"labels": list(data.table.label_names), "shape": [32, 32]},
            "model": {"width": 4},
            "training": {"rounds": 1, "local_steps": options.steps},
            "privacy": {"noise_multiplier": noise_multiplier, "rate": 0.25, "lot": 6},
            "arms": [{"sampler": "uniform"}],
        }
        plan = parse_plan(tomli_w.dumps(table))
        shared = (plan, plan.arms[0], images, labels, data.table.patients, variance)
        print(row(audit_dp(*shared, options.seed)), flush=True)


if __name__ == "__main__":
    main()
