"""Two approved plans of one study, a comment apart: what one asked counts for the other."""

from pathlib import Path

import pytest

from fl_client.gate.budget import reported_epsilon
from fl_server.study.failure import StudyFailed
from infomri_core.messages import ErrorReply, TrainReply, reply_from, wire
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from tests.client.test_datasets import site as two_sets
from tests.support.securesites import federation, secure_plan
from tests.support.vault_fakes import (
    PLAN,
    FakeSite,
    ask,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)


def commented(plan: Plan) -> Plan:
    """The same study under another digest."""
    return parse_plan(plan.text + "\n# another comment\n")


def test_the_limit_of_inputs_does_not_start_anew(tmp_path: Path) -> None:
    with jobs_in(tmp_path, max_inputs=2) as (jobs, site, _):
        for plan, fill in ((PLAN, 0), (commented(PLAN), 1)):
            assert not isinstance(ask(jobs, evaluate_task(plan, fill)), ErrorReply)
        for plan in (PLAN, commented(PLAN)):
            assert refusal(jobs, evaluate_task(plan, 2)) == "asked-often"
        assert site.calls == 2
        other = make_plan(study={"name": "another"})
        assert not isinstance(ask(jobs, evaluate_task(other)), ErrorReply)


def test_a_study_is_scored_on_one_state_of_the_data(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, evaluate_task()), ErrorReply)
    with jobs_in(tmp_path, FakeSite(make_table(n_positive=6))) as (jobs, site, _):
        assert refusal(jobs, evaluate_task(commented(PLAN))) == "data-changed"
        assert site.calls == 0


def test_data_that_were_enrolled_for_one_plan_are_enrolled_for_the_study(tmp_path: Path) -> None:
    """A comment more enrolled, and trained on, other patients under the same name."""
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, enrol_task(PLAN)), ErrorReply)
    with jobs_in(tmp_path, FakeSite(make_table(n_positive=6))) as (jobs, site, _):
        for plan in (PLAN, commented(PLAN)):
            assert refusal(jobs, train_task(plan)) == "data-changed"
        assert site.calls == 0
        assert not isinstance(ask(jobs, train_task(make_plan(study={"name": "b"}))), ErrorReply)


def test_a_study_is_asked_of_one_data_set_whichever_plan_asks(tmp_path: Path) -> None:
    """Two sums of one round over the same sites, one with these patients and one with those, give
    the difference of two updates of this site."""
    with two_sets(tmp_path) as sets:
        other = commented(PLAN)
        (tmp_path / "approved.txt").write_text(f"{PLAN.digest}\n{other.digest} data=knees\n")
        first = reply_from(wire.decode(sets.handle(encode(train_task(PLAN)))))
        second = reply_from(wire.decode(sets.handle(encode(train_task(other)))))
        assert isinstance(first, TrainReply)
        assert isinstance(second, ErrorReply) and second.code == "not-approved"


def test_the_epsilon_of_a_study_is_told_whole(tmp_path: Path) -> None:
    plan = make_plan(privacy={"noise_multiplier": 1.0, "rate": 0.2, "lot": 2, "losses": True})
    with jobs_in(tmp_path) as (jobs, _, ledger):
        first, second = (ask(jobs, train_task(p)) for p in (plan, commented(plan)))
        assert isinstance(first, TrainReply) and isinstance(second, TrainReply)
        assert first.epsilon is not None and second.epsilon is not None
        assert second.epsilon > first.epsilon
        assert reported_epsilon(plan, ledger.entries()) == second.epsilon


def test_a_round_is_unmasked_over_one_set_of_sites(tmp_path: Path) -> None:
    """Round 1 over abcd under one digest, over abc under the other: their difference is d."""
    plan = secure_plan()
    with federation(tmp_path, plan) as made:
        made.train(1)
        made.plan = commented(plan)
        made.grid.nodes[made.nodes["d"]].online = False
        with pytest.raises(StudyFailed):
            made.train(1)
        sums = [reply_from(wire.decode(out)) for _, _, out in made.said]
        refused = [r for r in sums if isinstance(r, ErrorReply) and "two sums" in r.sentence]
        assert len(refused) >= 3
        for name in "abc":
            assert made.kinds(name).count("unmasked") == 1


def test_a_name_that_looks_the_same_is_the_same_or_none(tmp_path: Path) -> None:
    """Counters belong to a study's name, and who approves a plan goes by what he reads."""
    with jobs_in(tmp_path, max_inputs=1) as (jobs, _, _):
        assert not isinstance(ask(jobs, evaluate_task()), ErrorReply)
        for name in ("Tiny", "TINY"):
            assert (
                refusal(jobs, evaluate_task(make_plan(study={"name": name}), 1)) == "asked-often"
            )
    for name in ("t\u0456ny", "tin\u0443", "\uff54iny", "tiny\u200b", "tin\u00fdy\u0301"):
        with pytest.raises(InputError, match=r"\[study\] name"):
            make_plan(study={"name": name})
    for name in ("\u00e9tude-7", "\u0438\u0441\u0441\u043b\u0435\u0434", "\u7814\u7a76\u30c6"):
        assert make_plan(study={"name": name}).study.name == name
