"""Many small questions: figures add up, whichever plan, input or state of the data they are of."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.jobs.registry import JOBS, plan_figures
from fl_client.memory.ledger import Entry
from fl_client.policy.figures import drawn
from fl_client.settings import Policy
from infomri_core.messages import ErrorReply, wire
from infomri_core.plan.plan import Plan
from tests.client.test_site_commands import SITE
from tests.support.vault_fakes import (
    PLAN,
    FakeSite,
    ask,
    charges,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
)

SCORING = JOBS["evaluate"].cost(PLAN, evaluate_task(), make_table()).figures


def named(name: str, **sections: Any) -> Plan:
    return make_plan(study={"name": name}, **sections)


def test_a_charge_names_at_least_as_many_figures_as_leave(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, ledger):
        for task in (enrol_task(), evaluate_task()):
            message = wire.decode(jobs.handle(encode(task)))
            n_values = sum(array.size for array in message.arrays.values())
            assert charges(ledger)[-1].charge["figures"] >= n_values
    assert plan_figures(PLAN) >= SCORING


def test_figures_add_up_over_plans_inputs_and_states_of_the_data(tmp_path: Path) -> None:
    limit = {"max_figures": 3 * SCORING + SCORING // 2}
    with jobs_in(tmp_path, **limit) as (jobs, _, _):
        for plan, fill in ((PLAN, 0), (PLAN, 1), (named("second"), 0)):
            assert not isinstance(ask(jobs, evaluate_task(plan, fill)), ErrorReply)
        assert refusal(jobs, evaluate_task(PLAN, 2)) == "figures"
        assert not isinstance(ask(jobs, evaluate_task(PLAN, 1)), ErrorReply)
    with jobs_in(tmp_path, FakeSite(make_table(n_positive=6)), **limit) as (jobs, site, _):
        assert refusal(jobs, evaluate_task(named("third"))) == "figures"
        assert site.calls == 0


def test_a_study_that_could_not_be_scored_is_refused_at_enrolment(tmp_path: Path) -> None:
    with jobs_in(tmp_path / "low", max_figures=plan_figures(PLAN) - 1) as (jobs, site, _):
        assert refusal(jobs, enrol_task()) == "figures"
        assert site.calls == 0
    with jobs_in(tmp_path / "high", max_figures=plan_figures(PLAN)) as (jobs, _, _):
        assert not isinstance(ask(jobs, enrol_task()), ErrorReply)
        assert not isinstance(ask(jobs, evaluate_task()), ErrorReply)
        assert not isinstance(ask(jobs, enrol_task()), ErrorReply)
        assert refusal(jobs, enrol_task(named("second"))) == "figures"


def test_the_reconstruction_of_all_patients_passes_the_default() -> None:
    """Five inputs of one plan of 128 cells with 400 sums in each: what once gave every image."""
    cells = {"accelerations": [4.0 + i / 8 for i in range(32)], "ratio_range": [0.1, 0.5]}
    arms = [{"sampler": "uniform", "seed": seed} for seed in range(4)]
    evaluation = {"attacks": ["lmmse"], "replicates": 400, "noise": False}
    plan = named("hostile", measurement=cells, arms=arms, evaluation=evaluation)
    assert plan_figures(plan) > Policy().max_figures


def test_what_left_longer_ago_than_the_period_counts_no_more() -> None:
    now = datetime.now(UTC)
    entry = Entry(run="p", job="evaluate", round=1, kind="charge", n_bytes=0, sha256="")
    ages = [
        dataclasses.replace(
            entry,
            time=(now - timedelta(days=d)).isoformat(),
            input=str(d),
            charge={"inputs": 1, "figures": 10},
        )
        for d in (40, 20, 1)
    ]
    assert [drawn(ages, days, now) for days in (10.0, 30.0, 365.0)] == [10, 20, 30]


def test_a_reply_from_before_figures_were_counted_counts_by_its_size() -> None:
    now = datetime.now(UTC)
    old = Entry(
        run="p",
        job="evaluate",
        round=1,
        kind="evaluated",
        n_bytes=800,
        sha256="x",
        time=now.isoformat(),
    )
    again = dataclasses.replace(old, repetition=True)
    assert drawn([old, again, dataclasses.replace(old, kind="trained")], 1.0, now) == 100


def test_a_plan_is_shown_with_the_figures_it_would_draw(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE + f"max_figures = {plan_figures(PLAN) + 10}\n")
    (tmp_path / "plan.toml").write_text(PLAN.text)
    line = ["plan", "show", str(tmp_path / "plan.toml"), "--config", str(tmp_path / "site.toml")]
    before = CliRunner().invoke(app, line, catch_exceptions=False).output
    assert f"figures it would draw: up to {plan_figures(PLAN)}" in before
    assert f"0 of {plan_figures(PLAN) + 10} drawn" in before and "within" in before
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, evaluate_task(named("before")))
    after = CliRunner().invoke(app, line, catch_exceptions=False).output
    assert f"{SCORING} of {plan_figures(PLAN) + 10} drawn" in after and "refused" in after
