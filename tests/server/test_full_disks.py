"""A disk that fills up during the work: what was made is kept, and the error says how to go on."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from rich.console import Console
from typer.testing import CliRunner

from fl_server import central, serverapp
from fl_server.cli import app
from fl_server.operations import federation_folder
from fl_server.run import checkpoint
from fl_server.study.evaluation import reaudit
from infomri_core.machine import backup
from infomri_core.machine.backup import back_up, read_backup, restore
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_plan, study

FULL = os.strerror(errno.ENOSPC)


def filling_up(real: Callable[..., Any], after: int) -> Callable[..., Any]:
    """``real`` for ``after`` calls, then a full disk."""
    calls = iter(range(after))

    def write(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, FULL)
        return real(*arguments, **options)

    return write


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_provisioning_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    words = ["provision", "--server", "h.example", "--sites", "a,b", "--out", str(tmp_path / "f")]
    real = federation_folder.write_atomically
    monkeypatch.setattr(federation_folder, "write_atomically", filling_up(real, after))
    with pytest.raises(InputError, match=f"{FULL}; make room; what was made is kept"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    monkeypatch.undo()
    kept = {path: path.read_bytes() for path in (tmp_path / "f" / "ca").iterdir()}
    assert CliRunner().invoke(app, words).exit_code == 0
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert {path.name for path in (tmp_path / "f" / "kits").iterdir()} == {"a.zip", "b.zip"}


def test_half_an_authority_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["provision", "--server", "h.example", "--sites", "a", "--out", str(tmp_path / "f")]
    monkeypatch.setattr(Path, "write_bytes", filling_up(Path.write_bytes, 0))
    with pytest.raises(InputError, match="what was made is kept"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    monkeypatch.undo()
    assert CliRunner().invoke(app, words).exit_code == 0


def sources(folder: Path) -> dict[str, Path]:
    (folder / "runs").mkdir(parents=True)
    for name in "abc":
        (folder / "runs" / name).write_text(name * 100)
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("create table t (x)")
    return {"runs": folder / "runs", "mlflow.db": folder / "mlflow.db"}


def test_a_backup_that_was_cut_short_is_none_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, copy = sources(tmp_path / "here"), tmp_path / "copy"
    monkeypatch.setattr(backup.shutil, "copyfile", filling_up(shutil.copyfile, 2))
    with pytest.raises(InputError, match=f"{FULL}; make room, delete the folder, and take"):
        back_up(what, copy)
    monkeypatch.undo()
    with pytest.raises(InputError, match="a whole backup"):
        read_backup(copy)
    shutil.rmtree(copy)
    assert len(back_up(what, copy).files) == 4


def test_a_database_that_finds_the_disk_full_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    class Old:
        def backup(self, new: object) -> None:
            raise full

        def close(self) -> None:
            pass

    real = sqlite3.connect
    monkeypatch.setattr(
        backup.sqlite3, "connect", lambda name, **how: Old() if how else real(name)
    )
    with pytest.raises(InputError, match=f"{FULL}; make room, delete the folder"):
        back_up(sources(tmp_path / "here"), tmp_path / "copy")


def test_a_restore_that_was_cut_short_leaves_the_backup_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, copy = sources(tmp_path / "here"), tmp_path / "copy"
    back_up(what, copy)
    targets = {"runs": tmp_path / "there" / "runs"}
    monkeypatch.setattr(backup.shutil, "copyfile", filling_up(shutil.copyfile, 1))
    with pytest.raises(InputError, match=r"the backup is whole: make room, delete .*there/runs"):
        restore(read_backup(copy), targets)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "there")
    assert restore(read_backup(copy), targets) == 3


def test_training_keeps_its_whole_rounds_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, data = small_plan(rounds=3), [site_uri("a")]
    out = tmp_path / "out"
    monkeypatch.setattr(checkpoint, "write_atomically", filling_up(checkpoint.write_atomically, 2))
    with pytest.raises(InputError, match=f"{FULL}; make room; whole rounds are kept") as raised:
        central.train_centrally(plan, data, AUDIT_URI, central.Places(out), Console(quiet=True))
    monkeypatch.undo()
    named = Path(raised.value.remedy.partition("--resume ")[2].split()[0])
    saved = checkpoint.latest(named / "checkpoints", None)
    assert saved is not None and saved.round >= 1
    places = central.Places(out, named.name)
    central.train_centrally(plan, data, AUDIT_URI, places, Console(quiet=True))
    assert (named / "results.json").exists()


def test_the_study_centre_says_that_a_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "centre.toml").write_text(f'[audit]\ndata = "{AUDIT_URI}"\n')
    monkeypatch.setenv(serverapp.CENTRE_FILE, str(tmp_path / "centre.toml"))
    monkeypatch.setattr("fl_server.study.open.run_study", filling_up(lambda: None, 0))
    context = Context(1, 0, {}, RecordDict(), serverapp.run_config(small_plan().text))
    with pytest.raises(InputError, match=f"{FULL}; make room; whole rounds are kept"):
        serverapp.main(None, context)


def test_an_audit_prints_what_it_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(small_plan(), local_sites(tmp_path), tmp_path).run()
    folder = tmp_path / "run"
    monkeypatch.setattr(reaudit.Published, "write", filling_up(lambda: None, 0))
    words = ["audit", str(folder), "--audit", AUDIT_URI, "--attacks", "lmmse"]
    words += ["--steps", "cnn=3,unet=3,reader=0", "--device", "cpu", "--json"]
    outcome = CliRunner().invoke(app, words)
    assert isinstance(outcome.exception, InputError)
    assert outcome.exception.got == FULL
    assert '"psnr"' in outcome.stdout
