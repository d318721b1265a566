"""Approve or decline: a reason reaches the study centre, and nothing else with it."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.reading.sites import sites_of, table
from fl_client.policy.decisions import MAX_WHY, declined_file, read_declined, safe_reason
from fl_client.policy.seen_plans import MAX_PLANS, SeenPlans
from fl_server.run.events import Progress, read_events
from fl_server.sites.recording import EVENTS, RecordedSites
from fl_server.study.enrolment import Roster
from fl_server.study.failure import StudyFailed
from infomri_core.messages import DatasetCard, ErrorReply, SiteReply, SiteTask
from infomri_core.system.errors import InputError
from tests.client.test_site_commands import SITE, said
from tests.support.small import SilentTracker
from tests.support.vault_fakes import (
    PLAN,
    ask,
    enrol_task,
    jobs_in,
    make_plan,
    make_settings,
    refusal,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "plan.toml").write_text(PLAN.text)
    return tmp_path


def test_a_declined_plan_is_refused_with_the_reason_until_it_is_approved(folder: Path) -> None:
    plan, why = str(folder / "plan.toml"), "Kein Bedarf: the ethics board (14/3) asks for DP"
    with jobs_in(folder, approvals="listed", approved=folder / "approved.txt") as (jobs, _, _):
        said(folder, "plan", "approve", plan)
        assert isinstance(ask(jobs, enrol_task()), DatasetCard)
        told = said(folder, "plan", "decline", plan, "--why", f"  {why}\n", "--by", "Dr. Ada")
        reply = ask(jobs, enrol_task())
        assert isinstance(reply, ErrorReply)
        assert (reply.code, reply.sentence) == ("declined", f"north declined this plan: {why}")
        assert reply.sentence in told
        assert "declined by Dr. Ada" in said(folder, "plan", "show", plan)
        assert "declined by Dr. Ada" in (folder / "approved.txt").read_text()
        said(folder, "plan", "approve", plan)
        assert isinstance(ask(jobs, enrol_task()), DatasetCard)


def test_a_declined_plan_is_refused_where_every_other_runs(folder: Path) -> None:
    said(folder, "plan", "decline", str(folder / "plan.toml"), "--why", "no")
    with jobs_in(folder, approved=folder / "approved.txt") as (jobs, _, _):
        assert refusal(jobs, enrol_task()) == "declined"
        assert isinstance(ask(jobs, enrol_task(make_plan(study={"name": "other"}))), DatasetCard)


def test_decisions_that_cannot_be_read_let_nothing_run(folder: Path) -> None:
    (folder / "declined.toml").write_text(f'{PLAN.digest} = {{why = "\\u001b[2J"}}\n')
    with jobs_in(folder, approved=folder / "approved.txt") as (jobs, site, _):
        reply = ask(jobs, enrol_task())
        assert isinstance(reply, ErrorReply)
        assert reply.sentence == "this site's decisions cannot be read"
        assert site.calls == 0


def test_a_plain_reason_leaves_as_it_was_written() -> None:
    assert safe_reason("The ethics board has not met.") == "The ethics board has not met."


@given(st.text(max_size=300))
def test_a_reason_that_may_leave_is_one_short_line_of_plain_characters(text: str) -> None:
    try:
        line = safe_reason(text)
    except InputError:
        return
    assert 1 <= len(line) <= MAX_WHY and line == safe_reason(line)
    assert line.isprintable() and not set(line) & set("<>[]{}\\`$#*_|\n\x1b")


def test_plans_are_listed_as_sent_approved_and_declined(folder: Path) -> None:
    other, third = make_plan(study={"name": "other"}), make_plan(study={"name": "third"})
    with jobs_in(folder, approvals="listed", approved=folder / "approved.txt") as (jobs, _, _):
        for plan in (PLAN, other, third):
            assert refusal(jobs, enrol_task(plan)) == "not-approved"
    said(folder, "plan", "approve", str(folder / "plan.toml"), "--by", "Ada")
    said(folder, "plan", "decline", other.digest[:12], "--why", "too many arms", "--by", "Bob")
    lines = said(folder, "plan", "list").splitlines()
    told = {line.split()[0]: line for line in lines}
    assert "approved by Ada" in told[PLAN.digest[:12]]
    assert (
        told[other.digest[:12]].endswith("too many arms") and "by Bob" in told[other.digest[:12]]
    )
    assert told[third.digest[:12]].endswith("third  sent, not decided")
    listed = json.loads(said(folder, "plan", "list", "--json"))
    assert {row["plan"] for row in listed} == {plan.digest for plan in (PLAN, other, third)}
    table = csv.DictReader(io.StringIO(said(folder, "plan", "list", "--csv")))
    assert list(table) == listed
    assert "plan " + third.digest in said(folder, "plan", "show", third.digest[:8])
    assert read_declined(declined_file(make_settings(folder, approved=folder / "a").policy))


def test_plans_that_were_sent_are_kept_up_to_a_number_and_a_size(tmp_path: Path) -> None:
    seen = SeenPlans(tmp_path)
    plans = [make_plan(study={"name": f"s{n}"}) for n in range(MAX_PLANS + 3)]
    for plan in plans:
        seen.note(plan)
    assert len(seen.plans()) == MAX_PLANS and plans[-1].digest in seen.plans()
    large = make_plan(study={"name": "large"}).text + "#" * 70_000
    with jobs_in(tmp_path / "site", approvals="any") as (jobs, _, _):
        ask(jobs, enrol_task(make_plan(study={"name": "small"})))
        reply = ask(jobs, type(enrol_task())(large, 4e9))
        assert isinstance(reply, DatasetCard)
    assert len(SeenPlans.of(make_settings(tmp_path / "site")).plans()) == 1
    with pytest.raises(InputError, match="0 plans"):
        seen.find("0000000")


class Declining:
    """One hospital that is online and declined the plan."""

    def online(self) -> list[str]:
        return ["7"]

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        yield "7", ErrorReply("declined", "north declined this plan: no secure aggregation")

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        return iter(())


def test_the_reason_reaches_the_study_lead_in_terminal_status_and_dashboard(
    tmp_path: Path,
) -> None:
    recorded = RecordedSites(Declining(), tmp_path, SilentTracker())  # type: ignore[arg-type]
    roster = Roster(recorded, PLAN, Progress(tmp_path / EVENTS))
    why = "declined: north declined this plan: no secure aggregation"
    with pytest.raises(StudyFailed, match=why):
        roster.participants(1)
    events, _ = read_events(tmp_path / EVENTS)
    assert any(e["event"] == "refused" and e["sentence"].endswith(why) for e in events)
    (row,) = table(sites_of(events)).to_dict("records")
    assert row["last refusal"] == why
