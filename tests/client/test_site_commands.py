"""``infomri-client plan`` and ``ledger``: what a person at the hospital reads and decides."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.gate.budget import spent
from fl_client.memory.ledger import Ledger
from fl_client.policy.limits import parse_approvals
from infomri_core.dp.accounting import epsilon, study_epsilon
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError
from tests.support.securesites import write_keys
from tests.support.vault_fakes import (
    PLAN,
    RELEASE_PLAN,
    ask,
    encode,
    enrol_task,
    jobs_in,
    make_plan,
    make_settings,
    refusal,
    train_task,
)

SITE = """
[site]
name = "north"
[superlink]
address = "localhost:9092"
insecure = true
[data]
uri = "phantom:?seed=1"
[policy]
approvals = "listed"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "plan.toml").write_text(PLAN.text)
    return tmp_path


def said(folder: Path, *words: str) -> str:
    line = [*words, "--config", str(folder / "site.toml")]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("line", ["plan show", "plan approve", "ledger show", "ledger export"])
def test_help_keeps_the_names_of_sections_in_brackets(line: str) -> None:
    text = CliRunner().invoke(app, [*line.split(), "--help"]).output
    assert "[datasets]" in text and "[data]" in text


def test_a_rule_counts_one_as_one(folder: Path) -> None:
    one = make_plan(training={"rounds": 1, "local_steps": 1})
    (folder / "plan.toml").write_text(one.text)
    shown = said(folder, "plan", "show", str(folder / "plan.toml"))
    assert "plan: 1 round\n" in shown and "1 rounds" not in shown


def test_a_plan_is_shown_with_all_that_leaves(folder: Path) -> None:
    text = said(folder, "plan", "show", str(folder / "plan.toml"))
    for words in (PLAN.digest, "not approved", "2 arms", "2 rounds", "no k-space", "weights"):
        assert words in text
    (folder / "plan.toml").write_text(RELEASE_PLAN.text)
    text = said(folder, "plan", "show", str(folder / "plan.toml"))
    assert "sampled k-space under uniform-s0 at 4x of no patient" in text
    assert "10%" in text


def test_a_secure_plan_is_shown_with_the_keys_that_are_trusted_for_it(folder: Path) -> None:
    plan = make_plan(aggregation={"secure": True}, training={"rounds": 2, "quorum": 3})
    (folder / "plan.toml").write_text(plan.text)
    assert "NOT SET UP HERE" in said(folder, "plan", "show", str(folder / "plan.toml"))
    write_keys(folder, ("north", "south"))
    secure = '[secure]\nkey = "north.key"\ntrusted = "sites.toml"\n'
    (folder / "site.toml").write_text(SITE + secure)
    text = said(folder, "plan", "show", str(folder / "plan.toml"))
    assert "sum over at least 3 sites and no site's part" in text
    assert text.count("SHA256:") == 2 and "south SHA256:" in text


def test_an_approval_names_who_and_when_and_a_revocation_takes_it_back(folder: Path) -> None:
    plan, approved = str(folder / "plan.toml"), folder / "approved.txt"
    policy = {"approvals": "listed", "approved": approved}
    with jobs_in(folder, **policy) as (jobs, _, _):
        assert refusal(jobs, enrol_task()) == "not-approved"
        said(folder, "plan", "approve", plan, "--by", "Dr. Ada # Lovelace")
        said(folder, "plan", "approve", plan)
        text = approved.read_text()
        assert text.count(PLAN.digest) == 1
        assert "approved by Dr. Ada Lovelace 20" in text
        assert "state at this site: approved" in said(folder, "plan", "show", plan)
        assert b"card" in jobs.handle(encode(enrol_task()))
        said(folder, "plan", "revoke", plan, "--by", "Grace")
        assert refusal(jobs, enrol_task()) == "not-approved"
    assert "revoked by Grace" in approved.read_text()
    assert parse_approvals(approved.read_text(), "approved") == frozenset()


def test_an_altered_plan_is_another_plan(folder: Path) -> None:
    said(folder, "plan", "approve", str(folder / "plan.toml"))
    (folder / "plan.toml").write_text(PLAN.text + "# altered\n")
    shown = said(folder, "plan", "show", str(folder / "plan.toml"))
    assert "state at this site: not approved" in shown


def test_the_ledger_is_shown_verified_and_exported(folder: Path) -> None:
    with jobs_in(folder) as (jobs, _, ledger):
        jobs.handle(encode(enrol_task()))
        n_entries = len(ledger.entries())
    shown = said(folder, "ledger", "show")
    assert "enrol round 0: card" in shown
    assert "enrol round 0: charged 1 input, 4 figures" in shown
    assert f"{n_entries} lines, chain unbroken" in said(folder, "ledger", "verify")
    said(folder, "ledger", "export", str(folder / "out.csv"))
    with (folder / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["kind"] for row in rows] == ["charge", "card"]
    assert {row["run"] for row in rows} == {PLAN.digest}
    assert json.loads(rows[0]["charge"])["figures"] == 4
    (folder / "out.csv").write_text("kept")
    with pytest.raises(InputError, match="one that is there"):
        said(folder, "ledger", "export", str(folder / "out.csv"))
    assert (folder / "out.csv").read_text() == "kept"
    said(folder, "ledger", "export", str(folder / "out.csv"), "--force")


def test_a_ledger_put_back_is_told_by_a_copy_kept_elsewhere(folder: Path) -> None:
    path = make_settings(folder).vault.state / "ledger.jsonl"
    with jobs_in(folder) as (jobs, _, _):
        jobs.handle(encode(enrol_task()))
        older = path.read_bytes()
        jobs.handle(encode(enrol_task()))
    copy = folder / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    said(folder, "ledger", "verify", "--copy", str(copy))
    path.write_bytes(older)
    Ledger.open(path).close()
    with pytest.raises(InputError, match="older ledger"):
        said(folder, "ledger", "verify", "--copy", str(copy))


def test_a_broken_ledger_is_recovered_by_name_and_reason(folder: Path) -> None:
    write_keys(folder, ("north",))
    secure = '[secure]\nkey = "north.key"\ntrusted = "sites.toml"\n'
    (folder / "site.toml").write_text(SITE + secure)
    path = make_settings(folder).vault.state / "ledger.jsonl"
    with jobs_in(folder) as (jobs, _, _):
        jobs.handle(encode(enrol_task()))
        jobs.handle(encode(train_task()))
    whole = path.read_bytes()
    words = ("ledger", "recover", "--why", "a disk error", "--by", "Dr. Example")
    path.write_bytes(whole.replace(b'"job": "train"', b'"job": "trail"', 1))
    assert "no line is lost" in said(folder, *words)
    assert path.read_bytes().startswith(whole)
    shown = said(folder, "ledger", "show")
    assert "closed by Dr. Example: a disk error; lines: 1 restored, 0 copied, 0 lost" in shown
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"##\n", *lines[2:]]))
    assert "studies that are closed here: tiny" in said(folder, *words)
    said(folder, "ledger", "verify")
    with jobs_in(folder) as (jobs, _, _):
        assert refusal(jobs, train_task()) == "ledger"


def private_plan(folder: Path, **sections: Any) -> Plan:
    plan = make_plan(
        privacy={"noise_multiplier": 2.0, "rate": 0.25, "lot": 2, "losses": True}, **sections
    )
    (folder / "plan.toml").write_text(plan.text)
    return plan


def test_a_plan_is_shown_with_its_epsilon_here_and_what_that_leaves_out(folder: Path) -> None:
    (folder / "site.toml").write_text(SITE.replace("?seed=1", "?patients=20&slices=2&size=32"))
    first = private_plan(folder, study={"name": "first"})
    with jobs_in(folder) as (jobs, _, ledger):
        ask(jobs, train_task(first))
        before = epsilon(spent(ledger.entries()), 1e-5)
    plan = private_plan(folder, moments={"noise_multiplier": 5.0, "clip": 1.0})
    text = said(folder, "plan", "show", str(folder / "plan.toml"))
    alone = study_epsilon(plan, 2, 2)
    assert alone is not None
    assert f"epsilon of this study: {math.ceil(alone * 100) / 100:.2f}" in text
    assert f"epsilon of all studies at this site: {math.ceil(before * 100) / 100:.2f} now" in text
    for words in ("second moments", "no [policy] max_epsilon", "released", "beta", "histograms"):
        assert words in text
    (folder / "site.toml").write_text(
        (folder / "site.toml").read_text() + f"max_epsilon = {before:.3f}\n"
    )
    assert ": refused, the site's budget is" in said(
        folder, "plan", "show", str(folder / "plan.toml")
    )


def test_where_the_data_cannot_be_opened_epsilon_is_shown_all_the_same(
    folder: Path,
) -> None:
    (folder / "site.toml").write_text(SITE.replace("phantom:?seed=1", "slices:nowhere.h5"))
    plan = private_plan(folder)
    text = said(folder, "plan", "show", str(folder / "plan.toml"))
    alone = study_epsilon(plan, 2, 2) or 0.0
    assert f"epsilon of this study: {math.ceil(alone * 100) / 100:.2f}, at every site" in text
