"""What each attack rebuilds, and what it costs: PSNR on slices it was not fitted on, seconds.

python -m benchmarks.attacks --data mnist:data/mnist.npz --accelerations 32 --sigma 0.05
python -m benchmarks.attacks --data 'slices:lgg.h5?role=audit' --run runs/20250101 --steps 1500
"""

import argparse
import platform
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from fl_server.inference.trained_arm import open_arm
from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet, folds
from infomri_core.attacks.base import Attack
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.attacks.registry import ATTACKS, FLOORS
from infomri_core.data import open_dataset
from infomri_core.inference.inference import ArmQuery
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import SamplingPolicy, VariableDensityPolicy, draw_masks
from infomri_core.system.device import pick_device

BATCH = 64
TEST_FOLDS = 5


def fit(
    name: str, fitted: dict[str, Attack], given: tuple, options: argparse.Namespace
) -> tuple[Attack, float]:
    """The attack fitted on the images in ``given``, and the seconds it took."""
    images, patients, policy = given
    shape = (images.shape[1], images.shape[2])
    started = time.monotonic()
    attack = attacks.build(name, shape)
    if isinstance(attack, LearnedAttack):
        attack.n_steps = options.steps
    if isinstance(attack, Ensemble):
        attack.bind(fitted, [n for n in fitted if n not in FLOORS])
    else:
        ratios = [1 / a for a in options.accelerations]
        generator = torch_generator(options.seed, "attack", name, device=images.device)
        attack.to(images.device)
        attack.fit(AuditSet.of(images, policy, ratios, options.sigma, generator, patients))
    return attack, time.monotonic() - started


def quality(
    attack: Attack,
    truth: torch.Tensor,
    policy: SamplingPolicy,
    acceleration: float,
    options: argparse.Namespace,
) -> float:
    """Mean PSNR (dB) on images (n, H, W); every attack is given the same measurements."""
    generator = torch_generator(options.seed, "benchmark", acceleration, device=truth.device)
    probabilities, found = policy(1 / acceleration).detach(), []
    for batch in truth.split(BATCH):
        masks = draw_masks(probabilities, len(batch), policy.constraint, generator=generator)
        y = measure(fft2c(batch), masks, options.sigma, generator)
        found.append(psnr(attack.reconstruct(y, masks), batch))
    return float(torch.cat(found).mean())


def run(options: argparse.Namespace) -> Table:
    """Fit and score every attack asked for; one line each."""
    device = torch.device(pick_device(options.device))
    dataset = open_dataset(options.data)
    rows = np.arange(min(len(dataset), options.images))
    patients = dataset.table.patients[rows]
    images = dataset.images(rows).to(device)
    kept, held = folds(len(rows), TEST_FOLDS, patients)[0]
    policy = policy_of(options, dataset.shape).to(device)
    title = f"PSNR (dB), {len(kept)} images to fit, {len(held)} to score"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for header in ("attack", *(f"{a:g}x" for a in options.accelerations), "seconds to fit"):
        table.add_column(header, justify="left" if header == "attack" else "right")
    given = (images[torch.from_numpy(kept)], patients[kept], policy)
    truth, fitted = images[torch.from_numpy(held)], {}
    for name in (*FLOORS, *options.attacks):
        fitted[name], seconds = fit(name, fitted, given, options)
        score = (
            f"{quality(fitted[name], truth, policy, a, options):.2f}"
            for a in options.accelerations
        )
        table.add_row(name, *score, f"{seconds:.1f}")
    settings = f"{source(options)}, sigma {options.sigma:g}, seed {options.seed}"
    table.caption = f"{settings}, {machine(device)}"
    return table


def policy_of(options: argparse.Namespace, shape: tuple[int, int]) -> SamplingPolicy:
    """The policy of a trained run's arm, or variable density."""
    if options.run is None:
        return VariableDensityPolicy(shape, "2d", options.exponent)
    return open_arm(options.run, ArmQuery(name=options.arm)).model.policy


def source(options: argparse.Namespace) -> str:
    """Data and policy in words."""
    fixed = f"variable density, exponent {options.exponent:g}"
    return f"{options.data}, {f'run {options.run}' if options.run else fixed}"


def machine(device: torch.device) -> str:
    """What it ran on, and the most memory the process held."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{name or device.type}, {torch.get_num_threads()} threads, peak {peak:.1f} GiB"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="URI of the data, see docs/data.md")
    parser.add_argument("--accelerations", type=float, nargs="+", default=[16.0, 32.0])
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--images", type=int, default=1000, help="at most so many")
    parser.add_argument("--steps", type=int, default=400, help="of each learned attack")
    parser.add_argument("--sigma", type=float, default=0.05)
    parser.add_argument("--exponent", type=float, default=4.0, help="of variable density")
    parser.add_argument("--run", type=Path, help="a trained run whose policy samples instead")
    parser.add_argument("--arm", help="arm of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    Console().print(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
