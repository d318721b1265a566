"""Gradient inversion against batch size, local steps and DP-SGD, as the table of docs/results.md.

``python -m benchmarks.inversion [--size 32] [--evaluations 400] [--rows 1-12]``: phantoms, a fresh
ResNet18 with GroupNorm of base width 16, masks at 4x. Half of the patients are the attacker's.
"""

import argparse

import numpy as np
import tomli_w
import torch

from infomri_core.arms.build import build_model
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.data import open_dataset
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.weight_attacks.inversion import Case, audit_case
from infomri_core.weight_attacks.updates import Protection

RATIO = 0.25
DP = Protection(clip=1.0, noise_multiplier=1.0)
CASES = (
    Case(1, control=True),
    Case(1, control=True, protection=DP),
    Case(2, control=True),
    Case(1),
    Case(1, protection=DP),
    Case(1, knows_masks=False),
    Case(2),
    Case(1, local_steps=2),
    Case(1, local_steps=4),
    Case(4),
    Case(4, protection=DP),
    Case(8),
)
HEAD = "batch | steps | measured | masks | DP | attack | PSNR dB | SSIM | nothing | measurement"


def row(found: dict[str, object]) -> str:
    """One line of the table; * where the search did not reach the update."""
    star = "" if found["matched"] else "*"
    cells = [
        found["batch_size"],
        found["local_steps"],
        "all" if found["control"] else f"{1 / RATIO:g}x",
        "known" if found["knows_masks"] else "unknown",
        "no" if found["clip"] is None else f"noise {found['noise_multiplier']:g}",
        found["attack"],
        f"{found['psnr']:.1f}{star}",
        f"{found['ssim']:.2f}",
        f"{found['psnr_without_update']:.1f}",
        f"{found['psnr_of_measurement']:.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table, a line as each case ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default="1-12", help="which rows of the table, as in 4-6")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, seed = options.size, options.seed
    data = open_dataset(f"phantom:?patients=60&slices=4&size={size}&seed=9&hospital=centre")
    table = {
        "study": {"name": "inversion", "seed": seed},
        "task": {"labels": list(data.table.label_names), "shape": [size, size]},
        "measurement": {"ratio_range": [RATIO, RATIO], "accelerations": [1 / RATIO]},
        "arms": [{"sampler": "uniform"}],
    }
    plan = parse_plan(tomli_w.dumps(table))
    model = build_model(plan, plan.arms[0]).eval()
    names = np.unique(data.table.patients)
    public = np.isin(data.table.patients, names[: len(names) // 2])
    images = data.images(np.arange(len(data)))
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    prior = LMMSE(plan.task.shape).fit(
        AuditSet.of(
            *(images[public], model.sampler, [RATIO], plan.measurement.noise_std),
            torch_generator(seed, "prior"),
            data.table.patients[public],
        )
    )
    print(f"| {HEAD} |\n|{' --- |' * len(HEAD.split('|'))}", flush=True)
    first, last = (int(number) for number in options.rows.split("-"))
    for case in CASES[first - 1 : last]:
        others = (images[~public], labels[~public], prior, RATIO, plan.training.learning_rate)
        print(row(audit_case(model, case, *others, options.evaluations, seed)), flush=True)


if __name__ == "__main__":
    main()
