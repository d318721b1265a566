"""MLflow and its spool: a study is reported whole, and never stopped by its reports."""

import json
import logging
import threading
import time
from pathlib import Path

import pytest

from fl_server.settings import Audit, Centre, CentreSettings, Mlflow
from fl_server.tracking.runs import MlflowRuns, is_permanent
from fl_server.tracking.spool import Spool
from fl_server.tracking.study_page import study_page
from fl_server.tracking.system_metrics import SystemSampler
from fl_server.tracking.tracker import Tracker, resend_command
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support.rows import row_of

pytest.importorskip("mlflow")
PLAN = """
[study]
name = "knee"
[task]
labels = ["line", "spot"]
shape = [32, 32]
[[arms]]
sampler = "infomri"
suppression = "marginal"
beta = 0.001
[[arms]]
sampler = "uniform"
"""
LEARNED, UNIFORM = "infomri-marginal-b0.001-s0", "uniform-s0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SQLite store for the module: making its tables takes seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Plan:
    """A plan whose study, hence experiment, is the test's own."""
    return parse_plan(PLAN.replace("knee", request.node.name[:60]))


def centre(store: Path, tmp_path: Path, uri: str = "") -> CentreSettings:
    return CentreSettings(
        Audit("phantom:"),
        Centre(directory=tmp_path),
        Mlflow(uri or f"sqlite:///{store / 'deep' / 'mlflow.db'}", store / "artifacts"),
    )


def runs_of(store: Path, plan: Plan) -> dict[str, object]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'deep' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(plan.study.name)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_the_page_of_a_study_fits_into_mlflow_however_many_arms_it_has(plan):
    rows = [row_of(f"arm-{n}", "infomri", n / 1e3, 0, 8.0, auroc=0.9) for n in range(400)]
    page = study_page(plan, rows, {})
    left = next(line for line in page.splitlines() if "more rows" in line)
    assert len(page) < 8000 - 64
    assert page.count("| 8x |") + int(left.split()[0]) == len(rows)


def test_a_sweep_is_a_parent_run_with_a_nested_run_an_arm(store, tmp_path, plan):
    tracker = Tracker(centre(store, tmp_path), plan, "run-1")
    tracker.round(1, {LEARNED: {"train/ce": 0.7, "train/entropy": float("nan")}}, {"bytes_out": 9})
    tracker.round(2, {LEARNED: {"train/ce": 0.5}, UNIFORM: {"train/ce": 0.6}})
    tracker.dropped(UNIFORM, "diverged at north")
    tracker.phases(2, {"audit": 7.5})
    row = row_of(LEARNED, "infomri", 0.001, 0, 32.0, auroc=0.9, psnr={"unet": 15.0}, rounds=2)
    tracker.result([row])
    note = tmp_path / "results.json"
    note.write_text("{}")
    tracker.artifact(note)
    card = {"n_patients": 20, "n_slices": 40, "labels": ["line", "spot"]}
    for _ in range(2):
        tracker.dataset("north", card)
    tracker.describe(study_page(plan, [row], {}))
    tracker.finish("FINISHED")
    found = runs_of(store, plan)
    page = found["run-1"].data.tags["mlflow.note.content"]
    assert f"path=frontier.png&run_uuid={found['run-1'].info.run_id}" in page
    assert "| 32x | 0.900 | 15.0 |" in page and "{run_id}" not in page
    assert found.keys() == {"run-1", LEARNED, UNIFORM}
    parent, learned = found["run-1"], found[LEARNED]
    assert learned.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics == {"bytes_out": 9.0, "round": 2.0, "phase_seconds/audit": 7.5}
    assert learned.data.metrics["train/ce"] == 0.5
    assert learned.data.metrics["psnr/unet/32x"] == learned.data.metrics["psnr_worst/32x"] == 15.0
    assert learned.data.metrics["auroc/32x"] == 0.9
    assert "train/entropy" not in learned.data.metrics
    assert found[UNIFORM].data.tags["infomri.dropped"] == "diverged at north"
    expected = {"sampler": "infomri", "beta": "0.001", "seed": "0", "noise_std": "0.02"}
    expected |= {"constraint": "2d", "norm": "group", "rounds": "4", "width": "16"}
    assert expected.items() <= learned.data.params.items()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert len(list((store / "artifacts").rglob("results.json"))) == 1
    for run in found.values():
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, json.loads(given.dataset.profile)) == ("north", card)
        assert given.tags[0].value == "training"


def test_a_resumed_run_goes_on_in_the_runs_it_had(store, tmp_path, plan):
    first = Tracker(centre(store, tmp_path), plan, "run-1")
    first.round(1, {LEARNED: {"train/ce": 0.7}})
    first.finish("FAILED")
    before = runs_of(store, plan)
    second = Tracker(centre(store, tmp_path), plan, "run-1")
    assert second.flush()
    assert {run.info.status for run in runs_of(store, plan).values()} == {"RUNNING"}
    second.round(2, {LEARNED: {"train/ce": 0.6}})
    second.finish("FINISHED")
    after = runs_of(store, plan)
    assert {run.info.run_id for run in after.values()} == {r.info.run_id for r in before.values()}
    assert after[LEARNED].data.metrics["train/ce"] == 0.6


def test_a_deleted_database_is_told_in_one_sentence_without_a_traceback(
    tmp_path, plan, monkeypatch, capfd
):
    monkeypatch.setenv("INFOMRI_CENTRE", str(tmp_path / "etc" / "centre.toml"))
    lost = centre(tmp_path / "lost", tmp_path)
    tracker = Tracker(lost, plan, "run-1", retry_seconds=0.0)
    tracker.round(1, {LEARNED: {"train/ce": 0.7}})
    assert tracker.flush()
    (tmp_path / "lost" / "deep" / "mlflow.db").unlink()
    tracker.round(2, {LEARNED: {"train/ce": 0.6}})
    tracker.finish("FINISHED")
    assert not tracker.flush()
    assert "Traceback" not in "".join(capfd.readouterr())
    words = ["resend", str(tmp_path / "run-1"), "--centre", str(tmp_path / "etc" / "centre.toml")]
    assert resend_command(tmp_path / "run-1").endswith(" ".join(words))
    (tmp_path / "centre.toml").touch()
    assert "--centre" not in resend_command(tmp_path / "run-1")


def test_an_unreachable_store_loses_nothing_and_stops_nothing(store, tmp_path, plan, caplog):
    lost = centre(store, tmp_path, uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    (tmp_path / "file").write_text("a file where a directory should be")
    with caplog.at_level(logging.WARNING):
        tracker = Tracker(lost, plan, "run-1")
        tracker.round(1, {LEARNED: {"train/ce": 0.7}})
        tracker.round(2, {LEARNED: {"train/ce": 0.6}})
        tracker.finish("FINISHED")
    assert not tracker.flush()
    assert caplog.text.count("out of reach") == 1
    assert "infomri resend" in caplog.text
    back = Tracker(centre(store, tmp_path), plan, "run-1")
    assert back.flush()
    found = runs_of(store, plan)
    assert found[LEARNED].data.metrics["train/ce"] == 0.6
    assert found["run-1"].info.status == "RUNNING"
    back.finish("FINISHED")
    assert not (tmp_path / "run-1" / "tracking.jsonl").exists()


def test_the_end_of_a_study_waits_for_a_store_that_is_restarting(
    store, tmp_path, plan, caplog, monkeypatch
):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a directory should be")
    lost = centre(store, tmp_path, uri=f"sqlite:///{blocked}/mlflow.db")

    def restarted(seconds: float) -> None:
        blocked.unlink()
        blocked.mkdir()

    monkeypatch.setattr("fl_server.tracking.tracker.time.sleep", restarted)
    with caplog.at_level(logging.WARNING):
        tracker = Tracker(lost, plan, "run-1", end_seconds=3600.0)
        tracker.round(1, {LEARNED: {"train/ce": 0.7}})
        tracker.finish("FINISHED")
    assert "infomri resend" not in caplog.text and "MLflow is back" in caplog.text
    assert not (tmp_path / "run-1" / "tracking.jsonl").exists()


def test_a_record_the_store_refuses_for_good_holds_up_nothing(store, tmp_path, plan, caplog):
    tracker = Tracker(centre(store, tmp_path), plan, "run-1")
    with caplog.at_level(logging.WARNING):
        tracker.round(1, {LEARNED: {"a#bad/../name": 1.0}, "no-such-arm": {"train/ce": 1.0}})
        tracker.artifact(tmp_path / "gone.png")
        tracker.round(2, {LEARNED: {"train/ce": 0.6}})
        assert tracker.flush()
    assert caplog.text.count("refused") == 3
    assert runs_of(store, plan)[LEARNED].data.metrics == {"train/ce": 0.6}


def test_sending_a_record_twice_leaves_one_value(store, tmp_path, plan):
    from mlflow import MlflowClient

    settings = centre(store, tmp_path)
    record = {"do": "metrics", "arm": LEARNED, "step": 1, "metrics": {"x": 2.0}, "time": 1}
    runs = MlflowRuns(settings.tracking_uri, settings.artifacts, plan, "run-1")
    for _ in range(2):
        runs.send(record)
    run_id = runs_of(store, plan)[LEARNED].info.run_id
    assert len(MlflowClient(settings.tracking_uri).get_metric_history(run_id, "x")) == 1


def test_a_spool_delivers_in_order_and_stops_at_the_first_failure(tmp_path: Path, caplog):
    spool = Spool(tmp_path / "a" / "spool.jsonl")
    for number in range(4):
        spool.append({"n": number})
    with (tmp_path / "a" / "spool.jsonl").open("a") as stream:
        stream.write('{"n": 4')
    sent: list[int] = []

    def send(record: dict) -> None:
        if record["n"] == 2 and len(sent) == 2:
            sent.append(-1)
            raise OSError("down")
        sent.append(record["n"])

    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match="down"):
        spool.drain(send)
    assert spool.pending() == [{"n": 2}, {"n": 3}]
    assert spool.drain(send) == 2
    assert sent == [0, 1, -1, 2, 3]
    assert spool.drain(send) == 0
    assert "torn" in caplog.text


def test_what_is_appended_while_a_spool_is_drained_is_kept_and_sent(tmp_path: Path):
    spool = Spool(tmp_path / "spool.jsonl")
    for number in range(3):
        spool.append({"n": number})
    sent: list[int] = []

    def send(record: dict) -> None:
        if record["n"] < 3:
            late = threading.Thread(target=spool.append, args=({"n": record["n"] + 10},))
            late.start()
            late.join()
        sent.append(record["n"])

    assert spool.drain(send) == 6
    assert sent == [0, 1, 2, 10, 11, 12]
    assert spool.pending() == []


def test_system_metrics_are_those_of_mlflow_and_end_with_the_run(store, tmp_path, plan):
    tracker = Tracker(centre(store, tmp_path), plan, "run-1", sample_seconds=3600.0)
    tracker.finish("FINISHED")
    metrics = runs_of(store, plan)["run-1"].data.metrics
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert metrics["system/system_memory_usage_megabytes"] > 0
    alive = float(runs_of(store, plan)["run-1"].data.tags["infomri.alive"])
    assert abs(alive - time.time()) < 3600


def test_a_monitor_that_fails_is_left_out_and_the_others_go_on(monkeypatch):
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    sampler = SystemSampler()

    def broken(self: CPUMonitor) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(CPUMonitor, "collect_metrics", broken)
    for number in (1, 2):
        step, figures = sampler.sample()
        assert step == number
        assert "system/disk_usage_percentage" in figures
        assert not [name for name in figures if "cpu" in name]


def test_a_full_disk_costs_the_record_not_the_study(store, tmp_path, plan, caplog, monkeypatch):
    tracker = Tracker(centre(store, tmp_path), plan, "run-1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tracker.flush()
    monkeypatch.setattr(Spool, "append", full)
    tracker.round(1, {LEARNED: {"train/ce": 0.7}})
    assert "No space left" in caplog.text


def test_only_errors_that_would_come_again_are_permanent():
    assert is_permanent(FileNotFoundError())
    assert not is_permanent(ConnectionError())
