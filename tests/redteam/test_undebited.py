"""Training that no epsilon counts: cut off by a deadline, a crash, or under another job's name."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_client.gate.budget import reported_epsilon, spent
from fl_client.memory.ledger import Entry, Ledger, read_ledger
from infomri_core.dp.accounting import epsilon
from infomri_core.messages import AdaptTask, ErrorReply, TrainReply
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import evaluation_mechanism
from infomri_core.system.errors import InputError
from tests.support.vault_fakes import (
    FAR,
    PLAN,
    SIZES,
    FakeSite,
    ask,
    charges,
    evaluate_task,
    jobs_in,
    make_plan,
    make_settings,
    make_table,
    refusal,
    train_task,
)

PRIVACY = {"noise_multiplier": 1.0, "rate": 0.2, "lot": 2, "losses": True}
ROUND = (1.0, 0.2, 2)
"""Two arms of one step at 10 training patients."""


def private_plan(**sections: Any) -> Plan:
    return make_plan(privacy=PRIVACY, **sections)


def evaluation(*adversaries: str) -> dict[str, Any]:
    attacks = {"attacks": ["lmmse", "unet"], "noise": False}
    return {**attacks, "adversaries": ["public", *adversaries]}


class Crash(BaseException):
    """The vault is killed: nothing more of it runs."""


def test_a_round_that_its_deadline_cut_off_is_debited(tmp_path: Path) -> None:
    ticks = iter(np.arange(100.0, 200.0))
    with jobs_in(tmp_path, clock=lambda: float(next(ticks))) as (jobs, site, ledger):
        site.steps = 10**9
        assert refusal(jobs, train_task(private_plan(), deadline=120.0)) == "failed"
        assert spent(ledger.entries()) == [ROUND]


def test_a_round_that_died_with_the_vault_is_debited_before_it_began(tmp_path: Path) -> None:
    plan, path = private_plan(), make_settings(tmp_path).vault.state / "ledger.jsonl"

    def crash(_: Any) -> Any:
        assert spent(read_ledger(path)) == [ROUND], "on the disk before the first row"
        raise Crash

    with jobs_in(tmp_path) as (jobs, site, _):
        site.result = crash
        with pytest.raises(Crash):
            ask(jobs, train_task(plan))
    with jobs_in(tmp_path) as (jobs, _, ledger):
        assert spent(ledger.entries()) == [ROUND]
        assert isinstance(ask(jobs, train_task(plan)), TrainReply)
        assert spent(ledger.entries()) == [ROUND, ROUND], "its noise was drawn again"


def test_rounds_that_failed_stand_in_the_epsilon_that_is_told(tmp_path: Path) -> None:
    plan = private_plan()
    with jobs_in(tmp_path) as (jobs, site, ledger):

        def fail(_: Any) -> Any:
            raise RuntimeError("out of memory")

        site.result = fail
        assert refusal(jobs, train_task(plan)) == "failed"
        site.result = None
        reply = ask(jobs, train_task(plan))
        assert isinstance(reply, TrainReply) and reply.epsilon is not None
        assert epsilon([ROUND, ROUND], 1e-5) <= reply.epsilon
        assert reply.epsilon == reported_epsilon(plan, ledger.entries())


def test_failing_again_and_again_ends_at_the_budget(tmp_path: Path) -> None:
    plan = private_plan(evaluation={"attacks": ["lmmse"]})
    scoring = evaluation_mechanism(plan)
    assert scoring is not None
    limit = epsilon([*[ROUND] * 4, scoring], 1e-5)
    with jobs_in(tmp_path, max_epsilon=limit * 1.001) as (jobs, site, ledger):

        def fail(_: Any) -> Any:
            raise RuntimeError("out of memory")

        site.result = fail
        codes = [refusal(jobs, train_task(plan)) for _ in range(8)]
        assert codes == ["failed"] * 3 + ["budget"] * 5
        assert epsilon(spent(ledger.entries()), 1e-5) <= limit


def test_an_older_ledger_counts_as_it_did(tmp_path: Path) -> None:
    """Debited with the update that left, by its plan's digest."""
    plan, path = private_plan(), make_settings(tmp_path).vault.state / "ledger.jsonl"
    ledger = Ledger.open(path)
    cost = {"noise_multiplier": 1.0, "rate": 0.2, "steps": 2, "epsilon": 9.0, "delta": 1e-5}
    old = Entry(run=plan.digest, job="train", round=1, kind="trained", n_bytes=1, sha256="a")
    ledger.append(dataclasses.replace(old, privacy=cost))
    ledger.close()
    with jobs_in(tmp_path) as (jobs, _, ledger):
        reply = ask(jobs, train_task(plan, round=2))
        assert isinstance(reply, TrainReply) and reply.epsilon is not None
        assert reply.epsilon >= epsilon([ROUND, ROUND], 1e-5)
        assert spent(ledger.entries()) == [ROUND, ROUND]


def test_an_attack_trained_at_a_site_with_a_budget_is_refused(tmp_path: Path) -> None:
    plan = make_plan(evaluation=evaluation("insider"))
    arms = {name: np.zeros(size, np.float32) for name, size in SIZES.items()}
    network = {"network.weight": np.ones((2, 3), np.float32)}
    task = AdaptTask(plan.text, 1, FAR, arms, network, {"all": network})
    with jobs_in(tmp_path, max_epsilon=1.0) as (jobs, site, ledger):
        assert refusal(jobs, task) == "budget"
        assert site.calls == 0 and charges(ledger) == []


@pytest.mark.parametrize("adversary", ["insider", "same-site"])
def test_no_attack_is_trained_at_the_sites_of_a_plan_with_privacy(adversary: str) -> None:
    with pytest.raises(InputError, match="outside epsilon"):
        private_plan(evaluation=evaluation(adversary))


def test_attacks_trained_at_the_very_site_need_a_cohort_and_no_budget(tmp_path: Path) -> None:
    plan = make_plan(evaluation=evaluation("same-site"))
    few = FakeSite(make_table(n_train=4, n_val=10))
    with jobs_in(tmp_path / "few", few) as (jobs, site, _):
        assert refusal(jobs, evaluate_task(plan)) == "cohort"
        assert not isinstance(ask(jobs, evaluate_task(PLAN)), ErrorReply)
        assert site.calls == 1
    with jobs_in(tmp_path / "budget", max_epsilon=1.0) as (jobs, site, _):
        assert refusal(jobs, evaluate_task(plan)) == "budget"
        assert site.calls == 0
