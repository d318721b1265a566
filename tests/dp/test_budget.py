"""The privacy budget of a site: everything adds up, on the disk, and ends before it is passed."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant

from fl_client.gate.budget import spent
from fl_client.memory.ledger import read_ledger
from infomri_core.dp.accounting import epsilon
from infomri_core.messages import ErrorReply, TrainReply
from infomri_core.messages.budget import Budget
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import noise_multiplier
from tests.support.vault_fakes import (
    FakeSite,
    ask,
    charges,
    enrol_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)

DELTA = 1e-5
NOISED = {"attacks": ["lmmse"], "epsilon": 2.0}
SCORING = (noise_multiplier(2.0, DELTA), 1.0, 1)


def private_plan(name: str = "tiny", **privacy: Any) -> Plan:
    section = {"noise_multiplier": 1.0, "rate": 0.2, "lot": 2, "losses": True, **privacy}
    return make_plan(study={"name": name}, privacy=section, evaluation=NOISED)


def opacus(*history: tuple[float, float, int]) -> float:
    accountant = RDPAccountant()
    for noise, rate, steps in history:
        for _ in range(steps):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    return float(accountant.get_epsilon(delta=DELTA))


def told(reply: Any) -> float:
    assert isinstance(reply, TrainReply) and reply.epsilon is not None, reply
    return reply.epsilon


def test_a_history_costs_what_opacus_says() -> None:
    history = [(1.1, 0.2, 30), (2.0, 0.05, 100), (1.1, 0.2, 20)]
    assert epsilon(history, DELTA) == pytest.approx(opacus(*history), rel=1e-9)


@settings(deadline=None)
@given(st.permutations([(1.0, 0.5, 3), (1.0, 0.5, 2), (4.0, 0.1, 7)]), st.integers(0, 3))
def test_more_is_never_cheaper_and_order_does_not_matter(
    history: list[tuple[float, float, int]], n: int
) -> None:
    assert epsilon(history, DELTA) == pytest.approx(epsilon(sorted(history), DELTA))
    assert epsilon(history[:n], DELTA) <= epsilon(history, DELTA)
    assert epsilon([], DELTA) == 0.0


def test_rounds_arms_and_studies_add_up_over_restarts(tmp_path: Path) -> None:
    first, second = private_plan("one"), private_plan("two", noise_multiplier=2.0)
    with jobs_in(tmp_path) as (jobs, _, _):
        alone = told(ask(jobs, train_task(first)))
    with jobs_in(tmp_path) as (jobs, _, ledger):
        both = told(ask(jobs, train_task(first, round=2)))
        other = told(ask(jobs, train_task(second)))
        last = charges(ledger)[-1]
    n_arms, rate = 2, 2 / 10
    assert alone == pytest.approx(opacus((1.0, rate, n_arms)), abs=0.01)
    assert both == pytest.approx(opacus((1.0, rate, 2 * n_arms)), abs=0.01)
    assert other == pytest.approx(opacus((2.0, rate, n_arms)), abs=0.01)
    whole = opacus((1.0, rate, 2 * n_arms), (2.0, rate, n_arms))
    assert last.privacy["epsilon"] == pytest.approx(whole, rel=1e-9)
    assert told_in_file(tmp_path) == spent(ledger.entries())


def told_in_file(folder: Path) -> list[tuple[float, float, int]]:
    return spent(read_ledger(folder / "state" / "ledger.jsonl"))


def test_what_leaves_is_rounded_up(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        found = told(ask(jobs, train_task(private_plan())))
    exact = epsilon([(1.0, 0.2, 2)], DELTA)
    assert exact <= found < exact + 0.01
    assert round(found, 2) == found


def test_a_repetition_costs_nothing_and_another_input_does(tmp_path: Path) -> None:
    plan = private_plan()
    with jobs_in(tmp_path) as (jobs, site, ledger):
        assert ask(jobs, train_task(plan)) is not None
        ask(jobs, train_task(plan))
        assert site.calls == 1 and len(spent(ledger.entries())) == 1
        ask(jobs, train_task(plan, fill=1.0))
        assert len(spent(ledger.entries())) == 2


def test_a_round_whose_copy_was_lost_is_made_anew_and_costs_again(tmp_path: Path) -> None:
    plan = private_plan()
    with jobs_in(tmp_path) as (jobs, _, ledger):
        ask(jobs, train_task(plan))
        for kept in (tmp_path / "state" / "replies").glob("*.reply"):
            kept.unlink()
        ask(jobs, train_task(plan))
        assert len(spent(ledger.entries())) == 2


def test_what_never_left_costs_nothing(tmp_path: Path) -> None:
    plan = private_plan()
    site = FakeSite(make_table())
    site.steps = 1
    with jobs_in(tmp_path, site) as (jobs, _, ledger):
        assert refusal(jobs, train_task(plan, deadline=0.0)) == "deadline"
        assert spent(ledger.entries()) == []


def test_a_study_that_would_pass_the_budget_is_refused_before_any_work(tmp_path: Path) -> None:
    plan = private_plan()
    whole = epsilon([(1.0, 0.2, 4), SCORING], DELTA)
    with jobs_in(tmp_path / "low", max_epsilon=whole * 0.99) as (jobs, site, _):
        assert refusal(jobs, enrol_task(plan)) == "budget"
        assert refusal(jobs, train_task(plan)) == "budget"
        assert site.calls == 0
    with jobs_in(tmp_path / "high", max_epsilon=whole * 1.01) as (jobs, site, _):
        for number in (1, 2):
            assert isinstance(ask(jobs, train_task(plan, round=number)), TrainReply)
        assert isinstance(ask(jobs, train_task(plan, round=2)), TrainReply)
        assert not isinstance(ask(jobs, enrol_task(plan)), ErrorReply)
        calls = site.calls
        assert refusal(jobs, train_task(plan, fill=1.0)) == "budget"
        assert refusal(jobs, enrol_task(private_plan("next"))) == "budget"
        assert site.calls == calls


def test_where_there_is_a_budget_training_without_privacy_is_refused(tmp_path: Path) -> None:
    with jobs_in(tmp_path, max_epsilon=100.0) as (jobs, site, _):
        assert refusal(jobs, enrol_task()) == "budget"
        assert refusal(jobs, train_task()) == "budget"
        assert refusal(jobs, train_task(private_plan(delta=1e-4))) == "budget"
        exact = make_plan(privacy={"noise_multiplier": 1.0, "rate": 0.2, "lot": 2})
        assert refusal(jobs, enrol_task(exact)) == "budget"
        assert site.calls == 0


def test_loss_terms_leave_only_where_the_plan_says_so(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, ledger):
        assert refusal(jobs, train_task(private_plan(losses=False))) == "failed"
        assert len(spent(ledger.entries())) == 1
        told_too = ask(jobs, train_task(private_plan()))
        assert isinstance(told_too, TrainReply) and told_too.losses


def test_the_site_cannot_say_an_epsilon_of_its_own(tmp_path: Path) -> None:
    site = FakeSite(make_table())
    site.result = lambda task: dataclasses.replace(site.trained(task), epsilon=0.001)  # type: ignore[arg-type]
    with jobs_in(tmp_path, site) as (jobs, _, _):
        assert told(ask(jobs, train_task(private_plan()))) > 0.1
        plain = ask(jobs, train_task())
        assert isinstance(plain, TrainReply) and plain.epsilon is None


def test_the_budget_is_told_where_the_site_says_so_only_and_is_that_of_all_studies(
    tmp_path: Path,
) -> None:
    own = Budget(0.0, 9.0)
    site = FakeSite(make_table())
    site.result = lambda task: dataclasses.replace(site.trained(task), budget=own)  # type: ignore[arg-type]
    with jobs_in(tmp_path / "silent", site, max_epsilon=100.0) as (jobs, _, _):
        reply = ask(jobs, train_task(private_plan()))
        assert isinstance(reply, TrainReply) and reply.budget is None
    told_by = {"max_epsilon": 100.0, "report_budget": True}
    with jobs_in(tmp_path / "open", site, **told_by) as (jobs, _, ledger):
        replies = [ask(jobs, train_task(private_plan(name))) for name in ("one", "two")]
        whole = [entry.privacy["epsilon"] for entry in charges(ledger)]
    budgets = [reply.budget for reply in replies if isinstance(reply, TrainReply)]
    assert [budget.limit for budget in budgets if budget] == [100.0, 100.0]
    for budget, exact in zip(budgets, whole, strict=True):
        assert budget is not None and exact <= budget.spent < exact + 0.01
    with jobs_in(tmp_path / "bare", site, report_budget=True) as (jobs, _, _):
        reply = ask(jobs, train_task())
        assert isinstance(reply, TrainReply) and reply.budget is None


def test_reported_epsilon_is_the_same_whatever_the_number_of_patients(tmp_path: Path) -> None:
    reported = set()
    for n in range(40, 161, 8):
        for unit in ("patient", "slice"):
            with jobs_in(tmp_path / f"{n}{unit}", FakeSite(make_table(n_train=n))) as (jobs, _, _):
                reply = ask(jobs, train_task(private_plan(unit=unit)))
            assert isinstance(reply, TrainReply)
            reported.add(reply.epsilon)
    assert len(reported) == 1


def test_a_rate_above_the_sites_limit_is_refused(tmp_path: Path) -> None:
    with jobs_in(tmp_path, max_rate=0.1) as (jobs, site, _):
        assert refusal(jobs, train_task(private_plan())) == "policy" and site.calls == 0
        assert isinstance(ask(jobs, train_task(private_plan(rate=0.1))), TrainReply)
