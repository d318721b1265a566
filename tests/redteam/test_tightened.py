"""A policy that was tightened holds for what was answered before, too."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from infomri_core.dp.accounting import epsilon
from infomri_core.messages import DatasetCard, ErrorReply, EvaluateReply, TrainReply
from infomri_core.score_noise.mechanism import evaluation_mechanism
from tests.support.vault_fakes import (
    FakeSite,
    ask,
    charges,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)


@pytest.mark.parametrize("task", [enrol_task(), train_task(), evaluate_task()])
@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"jobs": ("moments",)}, "policy"),
        ({"max_width": 3}, "policy"),
        ({"min_cohort": 30}, "cohort"),
        ({"approvals": "listed"}, "not-approved"),
    ],
)
def test_a_kept_reply_does_not_leave_past_what_is_forbidden_now(
    tmp_path: Path, task: Any, policy: dict[str, Any], code: str
) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, task), ErrorReply)
    listed = {"approved": tmp_path / "approved.txt", **policy}
    with jobs_in(tmp_path, **listed) as (jobs, site, _):
        assert refusal(jobs, task) == code
        assert site.calls == 0


def test_counts_and_rare_findings_leave_by_the_rule_of_today(tmp_path: Path) -> None:
    table = make_table(10, 13, n_positive=3)
    with jobs_in(tmp_path, FakeSite(table)) as (jobs, _, _):
        before = ask(jobs, evaluate_task())
    with jobs_in(tmp_path, FakeSite(table), round_to=10, min_class_cohort=4) as (jobs, _, _):
        after = ask(jobs, evaluate_task())
        assert len(charges(jobs._ledger)) == 1, "the same question of the same data"
    assert isinstance(before, EvaluateReply) and isinstance(after, EvaluateReply)
    for reply, n_patients, rare in ((before, 10, True), (after, 10, False)):
        assert reply.n_patients == n_patients
        for scores in reply.scores.values():
            assert bool(scores.task.counts[:, 0].any()) is rare


def test_a_card_that_left_finely_rounded_does_not_leave_so_again(tmp_path: Path) -> None:
    with jobs_in(tmp_path, round_to=1) as (jobs, _, _):
        fine = ask(jobs, enrol_task())
    with jobs_in(tmp_path, round_to=1, min_cohort=6) as (jobs, site, _):
        coarse = ask(jobs, enrol_task())
        assert site.calls == 1
    assert isinstance(fine, DatasetCard) and isinstance(coarse, DatasetCard)
    assert coarse == dataclasses.replace(fine, versions=coarse.versions), "counts are frozen"


def test_a_budget_that_was_lowered_ends_repetitions_and_a_kept_one_costs_nothing(
    tmp_path: Path,
) -> None:
    privacy = {"noise_multiplier": 1.0, "rate": 0.2, "lot": 2, "losses": True}
    plan = make_plan(privacy=privacy, evaluation={"attacks": ["lmmse"]})
    scoring = evaluation_mechanism(plan)
    assert scoring is not None
    whole, spent = epsilon([(1.0, 0.2, 4), scoring], 1e-5), epsilon([(1.0, 0.2, 2)], 1e-5)
    with jobs_in(tmp_path, max_epsilon=whole * 1.001) as (jobs, site, _):
        for _ in range(3):
            assert isinstance(ask(jobs, train_task(plan)), TrainReply)
        assert site.calls == 1
    with jobs_in(tmp_path, max_epsilon=spent * 0.999) as (jobs, site, _):
        assert refusal(jobs, train_task(plan)) == "budget"
        assert site.calls == 0
