"""Odd paths: a store's URI leads back to its file, and a printed command runs when pasted."""

import shlex
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fl_server.demo import run
from fl_server.health.study import check_tracking
from fl_server.settings import read_settings
from fl_server.tracking.store import store_uri
from infomri_core.machine import processes
from infomri_core.machine.hints import shell_command
from infomri_core.machine.sqlite_uri import anchored, sqlite_path, sqlite_uri

ODD = ("a%20b", "what?&x=1#y", "a b", "it's [red]", "Möller+", "50%", "$HOME")


@pytest.mark.parametrize("name", ODD)
def test_a_stores_uri_leads_sqlalchemy_and_us_to_the_same_file(tmp_path: Path, name: str) -> None:
    engine = pytest.importorskip("sqlalchemy.engine")
    path = tmp_path / name / "mlflow.db"
    uri = sqlite_uri(path)
    assert engine.make_url(uri).database == str(path)
    assert sqlite_path(uri) == path
    assert sqlite_path(anchored("sqlite:///../mlflow.db", path)) == path / "../mlflow.db"
    assert anchored(uri, Path("/elsewhere")) == uri
    assert sqlite_path("http://centre/mlflow") is None


@pytest.mark.parametrize("name", ODD)
def test_a_pasted_command_has_the_words_that_were_meant(tmp_path: Path, name: str) -> None:
    command = shell_command("echo-args", "--run", tmp_path / name)
    shell = f"echo-args() {{ printf '%s\\n' \"$@\"; }}\n{command}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--run", str(tmp_path / name)]


def test_a_printed_command_names_this_environments_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = processes.script("infomri")
    other = tmp_path / "infomri"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    for path, program in (
        (str(Path(own).parent), "infomri"),
        (str(tmp_path), own),
        ("/nowhere", own),
    ):
        monkeypatch.setenv("PATH", path)
        assert shell_command("infomri", "status") == f"{program} status"
    assert shell_command("no-such-program") == "no-such-program"


@pytest.mark.parametrize("name", ["a%20b", "what?&x=1#y[red]"])
def test_runs_artifacts_and_the_dashboard_meet_in_an_odd_folder(tmp_path: Path, name: str) -> None:
    pytest.importorskip("mlflow")
    from dashboard.reading.runs import files
    from fl_server.tracking.runs import connect

    folder = tmp_path / name
    (folder / "centre").mkdir(parents=True)
    (folder / "note.txt").write_text("kept")
    (folder / "centre" / "centre.toml").write_text(
        '[audit]\ndata = "phantom:"\n[mlflow]\ntracking_uri = "sqlite:///../mlflow.db"\n'
    )
    settings = read_settings(folder / "centre" / "centre.toml")
    client = connect(settings.tracking_uri)
    assert (folder / "mlflow.db").is_file()
    place = settings.artifacts.resolve().as_uri()
    run = client.create_run(client.create_experiment("odd", place)).info.run_id
    client.log_artifact(run, str(folder / "note.txt"))
    assert list(settings.artifacts.rglob("note.txt"))
    assert store_uri(str(folder)) == sqlite_uri(folder / "mlflow.db")
    assert files(store_uri(str(folder)), run) == {"note.txt": 4}
    assert [finding.level.value for finding in check_tracking(settings.tracking_uri)] == ["ok"]


def test_the_demos_last_lines_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a%20b [red] it's"
    folder.mkdir()
    monkeypatch.setattr(run, "read_results", lambda path: ([], {}))
    monkeypatch.setattr(run, "print_frontier", lambda *arguments: None)
    printed = StringIO()
    run._report(folder, Console(file=printed, width=60))
    lines = printed.getvalue().splitlines()
    said = dict(line.split(maxsplit=1) for line in lines if line.startswith(("Dash", "MLflow ")))
    assert said["Dashboard"] == shell_command("infomri", "dashboard", "--run", folder)
    assert shlex.split(said["MLflow"])[-1] == sqlite_uri(folder / "mlflow.db")
