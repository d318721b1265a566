"""A study has the patients that were enrolled for it, until the hospital enrols others."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.policy.enrolment import NAME, enrol_again, enrolled
from fl_client.settings import read_settings
from fl_server.authority.certificates import SiteOptions, authority, site_kit
from infomri_core.data import open_dataset
from infomri_core.data.fingerprint import fingerprint
from infomri_core.messages import ErrorReply, SiteTask
from infomri_core.system.errors import Refused
from tests.support.vault_fakes import (
    PLAN,
    FakeSite,
    ask,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)

CHANGED = make_table(n_positive=6)


TASKS = [enrol_task(), train_task(), evaluate_task()]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_after_the_data_changed_every_job_of_the_plan_is_refused(
    tmp_path: Path, task: SiteTask
) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        assert not isinstance(ask(jobs, enrol_task()), ErrorReply)
    with jobs_in(tmp_path, FakeSite(CHANGED)) as (jobs, site, ledger):
        assert refusal(jobs, task) == "data-changed"
        assert site.calls == 0
        assert ledger.entries()[-1].note == "data-changed"


def test_the_hospital_may_enrol_the_data_again(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, enrol_task())
    with jobs_in(tmp_path, FakeSite(CHANGED)) as (jobs, _, _):
        assert refusal(jobs, train_task()) == "data-changed"
        enrol_again(tmp_path / "state" / NAME, PLAN.digest, fingerprint(CHANGED), "by us:\nscans")
        assert not isinstance(ask(jobs, train_task()), ErrorReply)
    with jobs_in(tmp_path) as (jobs, _, _):
        assert refusal(jobs, train_task()) == "data-changed"


def test_a_plan_that_was_enrolled_on_other_data_does_not_bind_the_next_one(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, enrol_task())
    other = make_plan(study={"name": "another"})
    with jobs_in(tmp_path, FakeSite(CHANGED)) as (jobs, _, ledger):
        assert enrolled(ledger.entries(), other.digest, tmp_path / "none") is None
        assert enrolled(ledger.entries(), PLAN.digest, tmp_path / "none") == fingerprint(
            make_table()
        )


def test_a_file_that_changes_under_a_running_vault_is_noticed(tmp_path: Path) -> None:
    data = tmp_path / "scans.h5"
    data.write_bytes(b"pixels")
    with jobs_in(tmp_path) as (jobs, site, _):
        jobs._data_path = str(data)
        assert not isinstance(ask(jobs, enrol_task()), ErrorReply)
        data.write_bytes(b"other patients")
        calls = site.calls
        assert refusal(jobs, train_task()) == "data-changed"
        assert site.calls == calls


def test_a_list_that_cannot_be_read_enrols_nothing(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(Refused):
        enrolled((), PLAN.digest, tmp_path / NAME)


def test_the_command_notes_the_data_as_they_are_and_why(tmp_path: Path) -> None:
    options = SiteOptions("127.0.0.1:8000", "phantom:?patients=4&slices=1&size=32&seed=1")
    config = site_kit(tmp_path / "kit", "north", authority(tmp_path / "ca"), options).settings
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.text)
    words = ["plan", "re-enrol", str(plan), "--config", str(config), "--why", "a scan came"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    settings = read_settings(config)
    path = settings.vault.state / NAME
    table = open_dataset(settings.data.uri).table
    assert enrolled((), PLAN.digest, path) == fingerprint(table)
    assert "a scan came" in path.read_text()
