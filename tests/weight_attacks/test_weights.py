"""The audit of weights as one report: whole, JSON, and bounded in time."""

import json

import numpy as np
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.weight_attacks.audit import audit_weights
from tests.support.small import AUDIT_URI, small_plan

PARTS = ("dp", "membership", "inversion", "label_inference", "site_inference")


def _audit(budget_seconds: float) -> dict:
    plan = small_plan()
    arms = {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms[1:]}
    data = open_dataset(AUDIT_URI)
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    images = data.images(np.arange(len(data)))
    return audit_weights(plan, arms, images, labels, data.table.patients, 0, budget_seconds)


def test_the_report_is_whole_and_json() -> None:
    report = _audit(4.0)
    assert tuple(report) == PARTS
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {part["arm"] for part in report.values()} == {small_plan().arms[1].name}
    assert "accuracy" in report["site_inference"] or "note" in report["site_inference"]


def test_without_time_every_part_says_that_it_was_left_out() -> None:
    report = _audit(0.0)
    assert tuple(report) == PARTS
    assert all("left out" in part["note"] for part in report.values())
