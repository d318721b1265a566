"""The vault under noise: the same answer to the same question, other data another, paid once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_client.gate.budget import spent
from infomri_core.dp.accounting import epsilon
from infomri_core.messages import EvaluateReply, EvaluateTask, SiteReply
from infomri_core.score_noise.mechanism import (
    evaluation_mechanism,
    form_of,
    noise_std,
)
from infomri_core.tasks.task import UNIT
from tests.support.vault_fakes import (
    SHAPE,
    FakeSite,
    ask,
    charges,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
)

PLAN = make_plan(evaluation={"attacks": ["lmmse"], "epsilon": 4.0})
EXACT = make_plan()
MIDDLE = np.stack([PLAN.task.reference(None)] * 2)
MEAN = {"mean": {"mean": np.zeros(SHAPE, np.float32)}}


def asking(**changes: Any) -> EvaluateTask:
    return evaluate_task(PLAN, reference=MIDDLE, expected=np.array([17.0]), **changes)


def scored(reply: SiteReply) -> EvaluateReply:
    assert isinstance(reply, EvaluateReply), reply
    return reply


def same(a: EvaluateReply, b: EvaluateReply) -> bool:
    return all((a.sums[family] == b.sums[family]).all() for family in a.sums)


def forget_replies(folder: Path) -> None:
    for kept in (folder / "state" / "replies").glob("*.reply"):
        kept.unlink()


def test_only_noised_sums_leave_and_the_ledger_says_what_they_cost(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        reply = scored(ask(jobs, asking()))
        bare = site.bounded(PLAN, asking())
        form = form_of(PLAN, asking().arms, MEAN)
        assert reply.scores == {} and not same(reply, bare)
        mechanism = evaluation_mechanism(PLAN)
        assert mechanism is not None and reply.noise == mechanism[0]
        for family, std in noise_std(form, mechanism[0]).items():
            assert np.abs(reply.sums[family] - bare.sums[family]).max() < 7 * std
        (entry,) = [e for e in ledger.entries() if e.kind == "evaluated"]
        (charge,) = charges(ledger)
        assert spent(ledger.entries()) == [mechanism]
        assert charge.privacy["epsilon"] == pytest.approx(epsilon([mechanism], 1e-5))
        assert entry.note.startswith("noise ")


def test_the_same_question_has_the_same_bytes_and_a_kept_reply_costs_nothing(
    tmp_path: Path,
) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        first = scored(ask(jobs, asking()))
        assert same(first, scored(ask(jobs, asking())))
        assert site.calls == 1 and len(spent(ledger.entries())) == 1
        forget_replies(tmp_path)
        again = scored(ask(jobs, asking(deadline=3e9)))
        assert site.calls == 2 and same(first, again)
        # Charged before it was computed again, when nobody knew that it would come out the same.
        assert len(spent(ledger.entries())) == 2
    with jobs_in(tmp_path) as (jobs, _, ledger):
        assert same(first, scored(ask(jobs, asking())))
        assert len(spent(ledger.entries())) == 2


def test_other_sums_of_the_same_question_have_another_noise_and_are_paid_for(
    tmp_path: Path,
) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        first = scored(ask(jobs, asking()))
        forget_replies(tmp_path)
        bare = site.bounded(PLAN, asking())
        bare.sums["decided"][0] -= UNIT
        site.result = lambda task: bare
        other = scored(ask(jobs, asking()))
        # The same noise would leave the difference of the sums bare.
        changed = {f: int((first.sums[f] != other.sums[f]).sum()) for f in first.sums}
        assert changed["scores"] > first.sums["scores"].size / 2 and changed["counts"] == 2
        assert len(spent(ledger.entries())) == 2


def test_a_second_question_is_refused_under_noise(tmp_path: Path) -> None:
    with jobs_in(tmp_path, max_inputs=5) as (jobs, _, ledger):
        scored(ask(jobs, asking()))
        assert refusal(jobs, asking(fill=1.0)) == "asked-often"
        assert refusal(jobs, dataclasses.replace(asking(), expected=np.array([18.0]))) == (
            "asked-often"
        )
        assert len(spent(ledger.entries())) == 1


def test_a_budget_holds_scorings_too(tmp_path: Path) -> None:
    privacy = {"noise_multiplier": 50.0, "rate": 0.2, "lot": 2}
    plan = make_plan(evaluation={"attacks": ["lmmse"], "epsilon": 4.0}, privacy=privacy)
    task = evaluate_task(plan, reference=MIDDLE, expected=np.array([17.0]))
    with jobs_in(tmp_path / "low", max_epsilon=3.9) as (jobs, site, _):
        assert refusal(jobs, enrol_task(plan)) == "budget"
        assert refusal(jobs, task) == "budget" and site.calls == 0
    with jobs_in(tmp_path / "high", max_epsilon=4.2) as (jobs, _, ledger):
        reply = scored(ask(jobs, task))
        assert len(spent(ledger.entries())) == 1
        # What leaves as epsilon is that of training, which has not been.
        assert reply.epsilon == 0.0
        next_one = make_plan(
            study={"name": "next"},
            evaluation={"attacks": ["lmmse"], "epsilon": 4.0},
            privacy=privacy,
        )
        again = evaluate_task(next_one, reference=MIDDLE, expected=np.array([17.0]))
        assert refusal(jobs, again) == "budget"


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: dataclasses.replace(reply, sums={}),
        lambda reply: dataclasses.replace(reply, noise=1.0),
        lambda reply: dataclasses.replace(reply, n_patients=9),
        lambda reply: dataclasses.replace(reply, failed={"unet": "error"}),
        lambda reply: dataclasses.replace(
            reply, sums={f: a * 1000 for f, a in reply.sums.items()}
        ),
        lambda reply: dataclasses.replace(
            reply, sums={f: a.astype(np.float64) for f, a in reply.sums.items()}
        ),
        lambda reply: dataclasses.replace(
            reply, sums={f: a for f, a in reply.sums.items() if f != "spread"}
        ),
    ],
)
def test_what_is_not_the_bounded_vector_does_not_leave(
    change: Callable[[EvaluateReply], EvaluateReply], tmp_path: Path
) -> None:
    site = FakeSite(make_table())
    site.result = lambda task: change(site.bounded(PLAN, asking()))
    with jobs_in(tmp_path, site) as (jobs, _, ledger):
        assert refusal(jobs, asking()) == "failed"
        assert [e for e in ledger.entries() if e.kind == "evaluated"] == []


@pytest.mark.parametrize(
    "expected", [np.zeros(0), np.zeros(2), np.array([np.nan]), np.array([51.0]), np.ones(1, "f4")]
)
def test_the_middle_of_the_clip_must_fit_the_form(expected: np.ndarray, tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        task = dataclasses.replace(asking(), expected=expected)
        assert refusal(jobs, task) == "bad-task" and site.calls == 0


@pytest.mark.parametrize(
    "given", [np.zeros(0), MIDDLE[:1], MIDDLE[..., ::-1], MIDDLE * np.nan, MIDDLE.astype("f4")]
)
def test_the_edges_between_bins_must_fit_and_ascend(given: np.ndarray, tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        task = dataclasses.replace(asking(), reference=np.ascontiguousarray(given))
        assert refusal(jobs, task) == "bad-task" and site.calls == 0


def test_exact_sums_leave_only_where_the_plan_says_so(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        reply = scored(ask(jobs, evaluate_task(EXACT)))
        assert reply.sums == {} and reply.noise is None and reply.scores
        site.result = lambda task: site.bounded(PLAN, asking())
        assert refusal(jobs, evaluate_task(EXACT, fill=1.0)) == "failed"
        assert len([e for e in ledger.entries() if e.kind == "evaluated"]) == 1
    with jobs_in(tmp_path / "other") as (jobs, site, ledger):
        site.result = lambda task: site.evaluated(evaluate_task(PLAN))
        assert refusal(jobs, asking()) == "failed"
        assert [e for e in ledger.entries() if e.kind == "evaluated"] == []
