"""What is backed up comes back as it was, and what was interrupted goes on from there."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fl_client.cli
import fl_server.cli
from fl_client.memory.ledger import read_ledger
from fl_server.run import checkpoint
from infomri_core.machine.backup import back_up, read_backup, restore
from infomri_core.messages import SiteReply, SiteTask, TrainTask
from infomri_core.system.errors import InputError
from tests.client.test_site_commands import SITE
from tests.support.small import local_sites, small_plan, study
from tests.support.vault_fakes import encode, enrol_task, jobs_in, train_task


class Lost:
    """Sites of which nothing more is heard from round ``last`` + 1 on: the machine is gone."""

    def __init__(self, sites: object, last: int) -> None:
        self._sites = sites
        self._last = last

    def online(self) -> list[str]:
        return self._sites.online()  # type: ignore[attr-defined]

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        if isinstance(task, TrainTask) and task.round > self._last:
            raise KeyboardInterrupt
        yield from self._sites.ask(task, to)  # type: ignore[attr-defined]


def run(app: object, *line: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in line], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


def train(folder: Path, sites: str, last: int) -> None:
    """A study of three rounds that is cut off after ``last``."""
    cut = Lost(local_sites(folder.parent / sites), last)
    with pytest.raises(KeyboardInterrupt):
        study(small_plan(), cut, folder).run()


def test_a_centre_that_is_lost_resumes_from_its_backup_bit_for_bit(tmp_path: Path) -> None:
    centre, copy, runs = tmp_path / "centre.toml", tmp_path / "copy", tmp_path / "runs"
    centre.write_text('[audit]\ndata = "phantom:?seed=1"\n')
    train(tmp_path / "undisturbed", "sites", last=2)
    train(runs, "others", last=1)
    run(fl_server.cli.app, "backup", copy, "--centre", centre)
    shutil.rmtree(runs)
    run(fl_server.cli.app, "restore", copy, "--centre", centre)
    train(runs, "others", last=2)
    expected, got = (
        checkpoint.latest(folder / "run" / "checkpoints")
        for folder in (tmp_path / "undisturbed", runs)
    )
    assert expected is not None
    assert got is not None
    assert expected.round == got.round == 2
    for name, weights in expected.arms.items():
        assert np.array_equal(weights, got.arms[name])


def test_a_site_s_ledger_budget_and_cache_come_back(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    config = tmp_path / "site.toml"
    with jobs_in(tmp_path) as (vault, site, _):
        vault.handle(encode(enrol_task()))
        answer = vault.handle(encode(train_task()))
        run(fl_client.cli.app, "backup", tmp_path / "copy", "--config", config)
    before = read_ledger(tmp_path / "state" / "ledger.jsonl")
    shutil.rmtree(tmp_path / "state")
    said = run(fl_client.cli.app, "restore", tmp_path / "copy", "--config", config)
    assert "4 lines end" in said
    assert "ask the study centre" in said
    assert read_ledger(tmp_path / "state" / "ledger.jsonl") == before
    with jobs_in(tmp_path) as (vault, site, _):
        assert vault.handle(encode(train_task())) == answer
        assert site.calls == 0


def test_a_newer_ledger_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    config, ledger = tmp_path / "site.toml", tmp_path / "state" / "ledger.jsonl"
    with jobs_in(tmp_path) as (vault, _, _):
        vault.handle(encode(enrol_task()))
        run(fl_client.cli.app, "backup", tmp_path / "copy", "--config", config)
        vault.handle(encode(train_task()))
    with pytest.raises(InputError, match="move it away first"):
        restore(read_backup(tmp_path / "copy"), {"ledger.jsonl": ledger})
    assert [e.kind for e in read_ledger(ledger)] == ["charge", "card", "charge", "trained"]


def test_a_database_in_use_is_copied_whole_and_its_log_is_not(tmp_path: Path) -> None:
    source = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(source)) as using:
        using.execute("pragma journal_mode = wal")
        using.execute("create table runs (name text)")
        using.execute("insert into runs values ('kept')")
        using.commit()
        using.execute("insert into runs values ('not yet')")
        made = back_up({"store": tmp_path, "state.db": source}, tmp_path.parent / "copy")
    assert sorted(made.files) == ["state.db", "store/state.db"]
    assert restore(read_backup(made.folder), {"state.db": tmp_path / "again.db"}) == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "again.db")) as back:
        assert back.execute("select name from runs").fetchall() == [("kept",)]


@pytest.mark.parametrize("harm", ["changed", "missing", "unfinished", "outside"])
def test_a_backup_that_is_not_whole_is_none(tmp_path: Path, harm: str) -> None:
    (tmp_path / "key").write_text("secret")
    copy = back_up({"key": tmp_path / "key", "absent": tmp_path / "absent"}, tmp_path / "copy")
    assert set(copy.files) == {"key"}
    manifest = copy.folder / "manifest.json"
    if harm == "changed":
        (copy.folder / "key").write_text("secres")
    elif harm == "missing":
        (copy.folder / "key").unlink()
    elif harm == "unfinished":
        manifest.unlink()
    else:
        content = json.loads(manifest.read_text())
        content["files"]["../key"] = content["files"]["key"]
        manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match="take another"):
        read_backup(copy.folder)
    with pytest.raises(InputError, match="a new folder"):
        back_up({}, copy.folder)
