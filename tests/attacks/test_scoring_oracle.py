"""Scoring is an oracle: a hostile centre sends programs as attacks, and this is what it gets.

The 'mean' floor answers with any image the centre chooses, which plays both oracles: a constant
output, and a program that fires on one known scan.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateReply, EvaluateTask
from infomri_core.physics.images import MAX_PSNR, image_metrics
from infomri_core.plan.plan import Plan
from tests.client.test_release import Hospital, hospital, plan_of
from tests.support.small import site_uri
from tests.support.vault_fakes import FAR

INPUTS = 5


def question(plan: Plan, image: np.ndarray) -> EvaluateTask:
    """One scoring of every arm whose only 'attack' answers with ``image`` (H, W)."""
    arms = {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms}
    program = {"image": image.astype(np.float32)}
    return EvaluateTask(plan.text, plan.training.rounds, FAR, arms, {"mean": program})


def answer(there: Hospital, image: np.ndarray) -> EvaluateReply:
    reply = there.ask(question(plan_of(), image))
    assert isinstance(reply, EvaluateReply), reply
    return reply


def means(reply: EvaluateReply, metric: str) -> set[float]:
    return {scores.quality["mean"].mean(metric) for scores in reply.scores.values()}


def scored_images(there: Hospital) -> np.ndarray:
    table = there.dataset.table
    rows = np.flatnonzero(np.isin(table.patients.astype(str), there.scored))
    return there.dataset.images(rows).numpy()


def test_constant_outputs_give_the_mean_pixel_and_then_silence(tmp_path: Path) -> None:
    with hospital(tmp_path, min_cohort=3, max_inputs=INPUTS) as there:
        greys = np.linspace(0.0, 0.8, INPUTS)
        errors = [means(answer(there, np.full((32, 32), grey)), "mse") for grey in greys]
        assert all(len(found) == 1 for found in errors), "every cell says the same"
        # E|x - c|^2 is a parabola in c whose lowest point is the mean pixel.
        a, b, _ = np.polyfit(greys, [found.pop() for found in errors], 2)
        assert -b / (2 * a) == pytest.approx(scored_images(there).mean(), abs=0.02)
        assert there.refusal(question(plan_of(), np.full((32, 32), 0.9))) == "asked-often"
        again = there.ask(question(plan_of(), np.full((32, 32), greys[0])))
        assert isinstance(again, EvaluateReply), "what was answered is answered again, unchanged"


def test_a_program_that_fires_on_a_known_scan_learns_that_it_is_there_and_no_more(
    tmp_path: Path,
) -> None:
    with hospital(tmp_path, min_cohort=3, max_inputs=INPUTS) as there:
        known = scored_images(there)[0]
        stranger = open_dataset(site_uri("b")).images(np.array([0]))[0].numpy()
        n_scored = len(there.scored)  # attack_slices = 1: one slice a patient
        gained = means(answer(there, known), "psnr").pop()
        usual = means(answer(there, stranger), "psnr").pop()
        # A scan that the centre already holds betrays itself: the limit of any exact mean.
        assert gained > usual + 0.1
        # What one patient can add to a mean over n is bounded.
        assert gained - usual <= MAX_PSNR / n_scored + 3.0
        # What it does not hold it does not get: every figure is one number for all patients.
        assert gained == round(gained, 1)


def test_nothing_is_answered_below_the_minimum_cohort(tmp_path: Path) -> None:
    with hospital(tmp_path, min_cohort=1000) as there:
        assert there.refusal(question(plan_of(), np.zeros((32, 32)))) == "cohort"


def test_a_copy_counts_for_no_more_than_the_limit() -> None:
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(image_metrics(image, image)[0, 0]) == MAX_PSNR
