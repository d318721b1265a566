"""A run's folder that was moved opens as before: what lies beside the store is what it means."""

import shutil
from pathlib import Path

import pytest

from dashboard.reading import runs as reading
from fl_server.tracking.runs import connect
from fl_server.tracking.tracker import SPOOL, Tracker
from infomri_core.machine.moved_store import beside, follow_move
from infomri_core.machine.sqlite_uri import sqlite_uri
from tests.support import small

RUN = "small-1"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a store, in which one run has a file."""
    folder = tmp_path / "here % there"
    run = folder / RUN
    run.mkdir(parents=True)
    (run / "results.json").write_text("{}")
    tracker = Tracker(small.settings(folder), small.small_plan(), RUN)
    tracker.artifact(run / "results.json")
    tracker.finish("FINISHED")
    return folder


def parent_run(uri: str) -> str:
    [sweep] = reading.sweeps(uri, *reading.studies(uri).values())
    return sweep.run_id


def test_the_dashboard_finds_the_files_of_a_moved_store(written: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(written, moved)
    uri = sqlite_uri(moved / "mlflow.db")
    run_id = parent_run(uri)
    assert reading.files(uri, run_id) == {"results.json": 2}
    assert reading.read_file(uri, run_id, "results.json") == b"{}"
    assert reading.missing_files(uri, run_id) == ""


def test_a_copy_means_its_own_files_though_the_others_are_there(
    written: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    [path] = copy.rglob("artifacts/results.json")
    path.write_text('{"copy": 1}')
    uri = sqlite_uri(copy / "mlflow.db")
    assert reading.read_file(uri, parent_run(uri), "results.json") == b'{"copy": 1}'


def test_what_is_missing_is_named(written: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "mlflow.db"
    alone.parent.mkdir()
    shutil.copy2(written / "mlflow.db", alone)
    shutil.move(written, tmp_path / "gone")
    uri = sqlite_uri(alone)
    assert str(written / "artifacts") in reading.missing_files(uri, parent_run(uri))


def artifact_uri(folder: Path, run_id: str) -> str:
    return (folder / "artifacts" / run_id / "artifacts").as_uri()


def test_the_store_learns_its_new_place_once(written: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved % again"
    shutil.move(written, moved)
    store = moved / "mlflow.db"
    assert follow_move(store)
    assert not follow_move(store)
    run_id = parent_run(sqlite_uri(store))
    client = connect(sqlite_uri(store))
    assert [f.path for f in client.list_artifacts(run_id)] == ["results.json"]
    assert client.get_run(run_id).info.artifact_uri == artifact_uri(moved, run_id)


def test_a_store_in_its_place_is_not_written(written: Path) -> None:
    store = written / "mlflow.db"
    before = store.read_bytes()
    assert not follow_move(store)
    assert store.read_bytes() == before


def test_other_places_stay_as_they_are(tmp_path: Path) -> None:
    store, run_id = tmp_path / "mlflow.db", "0" * 32
    (tmp_path / "artifacts").mkdir()
    assert beside(store, f"s3://bucket/{run_id}/artifacts", run_id) is None
    assert beside(store, "/nowhere/1/artifacts", run_id) is None
    far = tmp_path / "far" / run_id / "artifacts"
    far.mkdir(parents=True)
    assert beside(tmp_path / "near" / "mlflow.db", far.as_uri(), run_id) == far


def test_what_waits_to_be_sent_moves_with_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "before"
    run = folder / RUN
    run.mkdir(parents=True)
    (run / "results.json").write_text("{}")
    mine = [False]
    tracker = Tracker(small.settings(folder), small.small_plan(), RUN, ours=lambda: True)
    tracker.finish("FINISHED")
    spooling = Tracker(
        small.settings(folder), small.small_plan(), RUN, opens=False, ours=lambda: mine[0]
    )
    spooling._spool.append(
        {"do": "artifact", "time": 1, "path": spooling._spooled(run / "results.json")}
    )
    spooling.close()
    moved = tmp_path / "after"
    shutil.move(folder, moved)
    again = Tracker(small.settings(moved), small.small_plan(), RUN, opens=False)
    again.close()
    assert not (moved / RUN / SPOOL).exists()
    uri = sqlite_uri(moved / "mlflow.db")
    assert "results.json" in reading.files(uri, parent_run(uri))
