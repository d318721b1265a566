"""Laws of the vault's jobs: always an answer, never twice the work, never past a limit."""

import dataclasses
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_client.jobs import ledger_entry_of
from fl_client.policy.limits import parse_approvals
from fl_client.sockets.status import PING, PONG
from infomri_core.data.fingerprint import fingerprint
from infomri_core.messages import ErrorReply, SiteTask, TrainReply, reply_from, wire
from infomri_core.system.errors import InputError
from tests.support.vault_fakes import (
    PLAN,
    SIZES,
    FakeSite,
    ask,
    charges,
    departures,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)

SECRET = "patient Jane Doe, born 1970, at /data/jane.h5"
ARM = next(iter(SIZES))
TASKS = [enrol_task(), train_task(), evaluate_task()]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_repetition_gives_the_same_bytes_and_runs_nothing(
    tmp_path: Path, task: SiteTask
) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        first = jobs.handle(encode(task))
        assert not isinstance(reply_from(wire.decode(first)), ErrorReply)
        again = jobs.handle(encode(dataclasses.replace(task, deadline=task.deadline + 1)))
        assert (again, site.calls) == (first, 1)
        entries = departures(ledger)
        assert [e.repetition for e in entries] == [False, True]
        assert entries[0].sha256 == entries[1].sha256
        assert ledger.verify() == 3 and len(charges(ledger)) == 1
    with jobs_in(tmp_path) as (jobs, site, ledger):
        assert jobs.handle(encode(task)) == first
        assert site.calls == 0
        assert (len(departures(ledger)), len(charges(ledger))) == (3, 1)


def test_a_reply_is_not_repeated_once_the_data_have_changed(tmp_path: Path) -> None:
    for table, calls in ((make_table(), 1), (make_table(), 0), (make_table(n_positive=6), 1)):
        with jobs_in(tmp_path, FakeSite(table)) as (jobs, site, _):
            assert not isinstance(ask(jobs, train_task()), ErrorReply)
            assert site.calls == calls


def test_a_plan_is_scored_on_one_state_of_the_data_only(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, evaluate_task()), ErrorReply)
    with jobs_in(tmp_path, FakeSite(make_table(n_positive=6))) as (jobs, site, _):
        for fill in (0, 1):
            assert refusal(jobs, evaluate_task(fill=fill)) == "data-changed"
        assert site.calls == 0
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, evaluate_task(fill=1)), ErrorReply)


def test_the_same_weights_on_other_data_are_another_input(tmp_path: Path) -> None:
    for n_positive in (5, 6):
        with jobs_in(tmp_path, FakeSite(make_table(n_positive=n_positive)), max_inputs=2) as there:
            assert not isinstance(ask(there[0], train_task()), ErrorReply)
    with jobs_in(tmp_path, FakeSite(make_table(n_positive=7)), max_inputs=2) as (jobs, site, _):
        assert refusal(jobs, train_task()) == "asked-often"
        assert site.calls == 0


def test_a_changed_file_is_another_state_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "scans.h5").write_bytes(b"pixels")
    table = make_table()
    states = [fingerprint(table, str(tmp_path))]
    (tmp_path / "scans.h5").write_bytes(b"other pixels")
    states += [fingerprint(table, str(tmp_path)), fingerprint(table)]
    assert len(set(states)) == 3


def test_without_a_ledger_nothing_leaves_but_the_reason(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        (tmp_path / "state" / "ledger.jsonl").unlink()
        for _ in range(2):
            assert refusal(jobs, train_task()) == "ledger"
        assert site.calls == 0


def test_another_input_is_another_job(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        replies = {jobs.handle(encode(train_task(fill=f))) for f in (0.0, 10.0)}
        replies.add(jobs.handle(encode(train_task(round=2))))
        assert (len(replies), site.calls) == (3, 3)


def test_a_kept_reply_that_was_tampered_with_does_not_leave(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        jobs.handle(encode(enrol_task()))
        (kept,) = (tmp_path / "state" / "replies").iterdir()
        kept.write_bytes(SECRET.encode())
        assert SECRET.encode() not in jobs.handle(encode(enrol_task()))
        assert site.calls == 2


def test_only_the_last_replies_are_kept(tmp_path: Path) -> None:
    with jobs_in(tmp_path, cached_replies=2) as (jobs, _, _):
        for fill in range(4):
            jobs.handle(encode(train_task(fill=fill)))
        assert len(list((tmp_path / "state" / "replies").iterdir())) == 2


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        (enrol_task(), {"jobs": ("train",)}),
        (train_task(), {"max_rounds": 1}),
        (train_task(make_plan(training={"local_steps": 9})), {"max_local_steps": 8}),
        (enrol_task(), {"max_arms": 1}),
        (enrol_task(), {"max_width": 3}),
    ],
)
def test_the_sites_limits_hold_whatever_the_plan_says(
    tmp_path: Path, task: SiteTask, policy: dict[str, Any]
) -> None:
    with jobs_in(tmp_path, **policy) as (jobs, site, _):
        assert refusal(jobs, task) == "policy"
        assert site.calls == 0


def test_only_an_approved_plan_runs_and_a_revoked_one_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    approved = tmp_path / "approved.txt"
    with jobs_in(tmp_path, approvals="listed", approved=approved) as (jobs, site, _):
        assert refusal(jobs, enrol_task()) == "not-approved"
        assert "cannot be read" not in caplog.text
        approved.write_text("not a digest\n")
        assert refusal(jobs, enrol_task()) == "not-approved"
        approved.write_text(f"# ours\n{PLAN.digest}  plan.toml  Dr Who, 2026-11-23\n")
        assert not isinstance(ask(jobs, enrol_task()), ErrorReply)
        altered = dataclasses.replace(enrol_task(), plan_text=PLAN.text + "\n")
        assert refusal(jobs, altered) == "not-approved"
        approved.write_text("")
        assert refusal(jobs, enrol_task()) == "not-approved"
        assert site.calls == 1


def test_an_approval_nobody_can_read_is_named() -> None:
    with pytest.raises(InputError, match="line 2"):
        parse_approvals(f"{PLAN.digest}\n{PLAN.digest[:-1]}\n", "approved.txt")


@pytest.mark.parametrize(
    ("task", "table"),
    [
        (enrol_task(), make_table(2, 2)),
        (train_task(), make_table(4, 20)),
        (evaluate_task(), make_table(20, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_job_on_fewer_patients_than_the_cohort_is_not_even_run(
    tmp_path: Path, task: SiteTask, table: Any
) -> None:
    with jobs_in(tmp_path, FakeSite(table)) as (jobs, site, _):
        assert refusal(jobs, task) == "cohort"
        assert site.calls == 0


def test_a_site_answers_a_few_different_questions_a_round_and_no_more(tmp_path: Path) -> None:
    with jobs_in(tmp_path, max_inputs=3) as (jobs, site, _):
        for fill in range(3):
            assert not isinstance(ask(jobs, evaluate_task(fill=fill)), ErrorReply)
        assert refusal(jobs, evaluate_task(fill=3)) == "asked-often"
        assert not isinstance(ask(jobs, evaluate_task(fill=1)), ErrorReply)
        assert not isinstance(ask(jobs, train_task()), ErrorReply)
        assert site.calls == 4
    with jobs_in(tmp_path, max_inputs=3) as (jobs, _, _):
        assert refusal(jobs, evaluate_task(fill=3)) == "asked-often"


def test_the_deadline_cancels_between_two_steps(tmp_path: Path) -> None:
    ticks = itertools.count(100.0)
    with jobs_in(tmp_path, clock=lambda: next(ticks)) as (jobs, site, ledger):
        site.steps = 10**9
        assert refusal(jobs, train_task(deadline=150.0)) == "failed"
        assert site.calls == 1
        assert next(ticks) < 200
        assert [e.kind for e in ledger.entries()] == ["charge", "error"]


def test_the_sites_own_time_limit_cancels_too(tmp_path: Path) -> None:
    ticks = itertools.count(100.0)
    options: dict[str, Any] = {"clock": lambda: next(ticks), "max_job_seconds": 50.0}
    with jobs_in(tmp_path, **options) as (jobs, site, _):
        site.steps = 10**9
        assert refusal(jobs, train_task()) == "failed"


def test_a_stopping_vault_cancels_and_says_so(tmp_path: Path) -> None:
    stop = threading.Event()

    class Stopping(FakeSite):
        def run(self, *args: Any) -> Any:
            stop.set()
            self.steps = 10**9
            return super().run(*args)

    with jobs_in(tmp_path, Stopping(make_table()), stop.is_set) as (jobs, _, _):
        assert refusal(jobs, train_task()) == "stopping"
        assert refusal(jobs, train_task()) == "stopping"


def test_jobs_run_one_at_a_time_and_a_ping_is_answered_meanwhile(tmp_path: Path) -> None:
    inside, release = threading.Event(), threading.Event()
    running: list[int] = []

    class Slow(FakeSite):
        def run(self, *args: Any) -> Any:
            running.append(1)
            assert len(running) == 1
            inside.set()
            assert release.wait(20)
            running.pop()
            return super().run(*args)

    with jobs_in(tmp_path, Slow(make_table())) as (jobs, site, ledger):
        replies: list[Any] = []

        def work(fill: int) -> None:
            replies.append(ask(jobs, train_task(fill=fill)))

        threads = [threading.Thread(target=work, args=(f,)) for f in range(3)]
        for thread in threads:
            thread.start()
        assert inside.wait(20)
        assert wire.decode(jobs.handle(wire.encode(PING))) == PONG
        assert jobs.status().busy
        release.set()
        for thread in threads:
            thread.join(20)
        assert all(isinstance(reply, TrainReply) for reply in replies)
        assert (site.calls, len(departures(ledger))) == (3, 3)
        assert not jobs.status().busy


def test_a_task_is_known_by_everything_but_its_deadline() -> None:
    task = train_task()
    same = dataclasses.replace(task, deadline=1.0)
    assert ledger_entry_of(task) == ledger_entry_of(same)
    arms = dict(task.arms)
    changed = arms[ARM].copy()
    changed[-1] = np.float32(1e-30)
    for other in (
        dataclasses.replace(task, round=2),
        dataclasses.replace(task, arms={**arms, ARM: changed}),
        dataclasses.replace(task, plan_text=task.plan_text + " "),
        dataclasses.replace(task, variance=task.variance.astype(np.float64)),
    ):
        assert ledger_entry_of(other).input != ledger_entry_of(task).input
