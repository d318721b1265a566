"""Many patients, few of them outlined: figures are of those alone, and need the cohort of them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateReply, EvaluateTask, TrainTask
from infomri_core.plan.plan import Plan
from tests.client.test_release import hospital
from tests.support.vault_fakes import FAR
from tests.tasks.test_regression import plan_of as regression
from tests.tasks.test_segmentation import plan_of

N, COHORT = 24, 5


def archive(path: Path, outlined: int) -> str:
    """A URI of ``N`` patients with two slices each, in either split as many; of each split the
    slices of ``outlined`` patients were looked at."""
    draw, owner = np.random.default_rng(0), np.repeat(np.arange(2 * N), 2)
    with h5py.File(path, "w") as file:
        file["image"] = draw.integers(1, 4096, (4 * N, 32, 32)).astype(np.uint16)
        file["mask"] = draw.integers(0, 2, (4 * N, 32, 32)).astype(np.uint8)
        file["label"] = (owner % 2).astype(np.uint8)
        file["patient"] = [f"p{i}" for i in owner]
        file["split"] = [("train", "val")[i % 2] for i in owner]
        file["rater_present"] = (owner < 2 * outlined).astype(np.uint8)
    return f"slices:{path}?outlines=disc"


def plan() -> Plan:
    evaluation = {"attacks": ["lmmse"], "attack_slices": 1, "noise": False}
    return plan_of(evaluation=evaluation, arms=[{"sampler": "uniform"}])


def questions(plan: Plan) -> list[Any]:
    arms = {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms}
    variance = np.ones((2, 32, 32), np.float32)
    floors = {"mean": {"image": np.full((32, 32), 0.3, np.float32)}}
    return [
        TrainTask(plan.text, 1, FAR, variance, arms),
        EvaluateTask(plan.text, plan.training.rounds, FAR, arms, floors),
    ]


def test_one_outlined_patient_among_many_is_never_learned_or_scored(tmp_path: Path) -> None:
    uri = archive(tmp_path / "a.h5", COHORT - 1)
    with hospital(tmp_path, uri=uri, min_cohort=COHORT) as there:
        for question in questions(plan()):
            assert there.refusal(question) == "cohort"


def test_every_group_that_leaves_has_the_cohort_of_outlined_patients(tmp_path: Path) -> None:
    """Groups of five patients each, of whom by chance one or two are outlined, are joined."""
    outlined = 2 * COHORT + 1
    uri = archive(tmp_path / "a.h5", outlined)
    with hospital(tmp_path, uri=uri, min_cohort=COHORT) as there:
        reply = there.ask(questions(plan())[-1])
        assert isinstance(reply, EvaluateReply), reply
        for scores in reply.scores.values():
            weight = scores.task.to_arrays()["weight"]
            assert weight.sum() == 2 * outlined
            assert (weight[weight > 0] >= 2 * COHORT).all() and (weight > 0).sum() == 2


def test_an_area_that_nobody_outlined_is_not_zero(tmp_path: Path) -> None:
    whole, part = (archive(tmp_path / f"{n}.h5", n).replace("disc", "oedema") for n in (N, 9))
    task = regression().task
    assert task.mismatch(open_dataset(whole)) is None
    found = task.mismatch(open_dataset(part))
    assert found is not None and "nobody outlined" in str(found.got)
