"""A run whose process was ended before it could say so is ended in MLflow from outside."""

from pathlib import Path

import pytest

from fl_server.settings import read_settings
from fl_server.tracking.resend import record_end
from fl_server.tracking.tracker import Tracker
from infomri_core.plan.reading import parse_plan
from tests.server.test_tracking import LEARNED, PLAN, runs_of

pytest.importorskip("mlflow")


def test_a_run_whose_process_was_ended_is_ended_from_outside(tmp_path: Path) -> None:
    plan, run = parse_plan(PLAN), tmp_path / "run-1"
    uri = f"sqlite:///{tmp_path / 'deep' / 'mlflow.db'}"
    written = f'[audit]\ndata = "phantom:"\n[mlflow]\ntracking_uri = "{uri}"\n'
    (tmp_path / "centre.toml").write_text(written + '[centre]\ndirectory = "."\n')
    record_end(run, plan, "KILLED")
    assert not run.exists()
    tracker = Tracker(read_settings(tmp_path / "centre.toml"), plan, run.name)
    tracker.round(1, {LEARNED: {"train/ce": 0.7}})
    tracker.close()
    assert {found.info.status for found in runs_of(tmp_path, plan).values()} == {"RUNNING"}
    record_end(run, plan, "KILLED")
    assert {found.info.status for found in runs_of(tmp_path, plan).values()} == {"KILLED"}
