"""One line of the ledger says what was in that reply, by field, without a value of an array."""

import json
from pathlib import Path

from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.commands.ledger_entry import contents
from fl_client.memory.ledger import read_ledger
from tests.support.vault_fakes import ask, enrol_task, jobs_in, train_task


def departures(folder: Path, kind: str):
    return [e for e in read_ledger(folder / "state" / "ledger.jsonl") if e.kind == kind]


def test_the_fields_of_a_kept_reply_are_shown_by_size_and_meaning(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, enrol_task())
        ask(jobs, train_task())
    (trained,) = departures(tmp_path, "trained")
    said = "\n".join(contents(trained, tmp_path / "state" / "replies"))
    assert f"bytes   {trained.n_bytes}" in said and trained.sha256 in said
    assert "float32" in said and "weights after the local steps" in said
    assert "slices that were trained on" in said
    forgotten = "\n".join(contents(trained, tmp_path / "nothing"))
    assert "kept no longer" in forgotten and "float32" not in forgotten


def test_a_charge_says_that_nothing_left(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, enrol_task())
    (charge,) = departures(tmp_path, "charge")
    lines = contents(charge, tmp_path / "state" / "replies")
    assert lines[-1] == "nothing left with this line"
    assert "sha256" not in "\n".join(lines)


def test_lines_are_shown_with_the_number_to_ask_for(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, _, _):
        ask(jobs, enrol_task())
    (tmp_path / "site.toml").write_text(
        '[site]\nname = "north"\n[superlink]\naddress = "localhost:9092"\ninsecure = true\n'
        '[data]\nuri = "phantom:?seed=1"\n'
    )
    show = ["ledger", "show", "--config", str(tmp_path / "site.toml")]
    lines = CliRunner().invoke(app, show).output.splitlines()
    number = next(line.split()[0] for line in lines if ": card" in line)
    every = json.loads(CliRunner().invoke(app, [*show, "--json"]).output)
    assert len(every) == len(lines) and every[int(number) - 1]["kind"] == "card"
    one = CliRunner().invoke(app, [*show, "--entry", number]).output
    assert "patients, rounded down" in one
    assert CliRunner().invoke(app, [*show, "--entry", "99"]).exit_code != 0
