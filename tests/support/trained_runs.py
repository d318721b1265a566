"""A run's folder with fresh weights, for the commands that use a trained model."""

from pathlib import Path

import numpy as np
import torch

from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan

SHAPE = (18, 16)
LABELS = ("effusion", "meniscus, tear")
PLAN = """
[study]
name = "trained"
[task]
labels = ["effusion", "meniscus, tear"]
shape = [18, 16]
exclusive = {exclusive}
[measurement]
noise_std = 0.02
constraint = "{constraint}"
ratio_range = [0.05, 0.5]
accelerations = [2.0, 4.0]
[model]
width = 4
[training]
rounds = 2
[[arms]]
sampler = "infomri"
[[arms]]
sampler = "infomri"
beta = 1e-3
suppression = "marginal"
[[arms]]
sampler = "infomri"
beta = 1e-3
suppression = "marginal"
seed = 1
[[arms]]
sampler = "uniform"
[[arms]]
sampler = "variable-density"
exponent = 4.0
"""
DROPPED = "infomri-marginal-b0.001-s1"


def make_plan(constraint: str = "2d", exclusive: bool = False) -> Plan:
    return parse_plan(PLAN.format(constraint=constraint, exclusive=str(exclusive).lower()))


def make_run(
    directory: Path, constraint: str = "2d", exclusive: bool = False, round_number: int = 2
) -> Path:
    """A run of :func:`make_plan`'s plan in which the arm ``DROPPED`` diverged."""
    torch.set_num_threads(1)
    plan = make_plan(constraint, exclusive)
    variance = np.random.default_rng(0).uniform(0.1, 1, (2, *SHAPE)).astype(np.float32)
    arms = {
        arm.name: flatten(build_model(plan, arm, torch.from_numpy(variance)))
        for arm in plan.arms
        if arm.name != DROPPED
    }
    saved = Checkpoint(plan.text, round_number, arms, variance, {DROPPED: "diverged at north"})
    checkpoint.save(directory / "checkpoints", saved)
    return directory


def make_images(n: int = 3) -> np.ndarray:
    """Images (n, 18, 16), not normalised."""
    rng = np.random.default_rng(4)
    return rng.gamma(2.0, 40.0, (n, *SHAPE)).astype(np.float32)
