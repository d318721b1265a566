"""Stores for the dashboard's tests: a small finished study, and one with thousands of runs."""

import time
from pathlib import Path

import numpy as np
import sqlalchemy
import torch

from fl_server.study.open import run_study
from fl_server.tracking.runs import connect
from fl_server.tracking.tracker import Tracker
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support import small

ARMS = 5
TABLES = ["runs", "tags", "params", "latest_metrics"]


def finished(directory: Path) -> tuple[str, Plan]:
    """Store URI and plan of a small study of two sites that ran to its end in this process."""
    torch.set_num_threads(1)
    plan = small.small_plan(rounds=2)
    centre = small.settings(directory)
    run_study(plan, centre, small.local_sites(directory), run_id="1")
    return centre.tracking_uri, plan


def running(directory: Path) -> Tracker:
    """The tracker of a study 'live' that has begun in the store of :func:`finished`, and of which
    a first round is told."""
    text = small.small_plan().text.replace('name = "small"', 'name = "live"')
    tracker = Tracker(small.settings(directory), parse_plan(text), "live-1")
    tracker.round(1, {"uniform-s0": {"train/ce": 0.7}})
    return tracker


def crowded(directory: Path, n_runs: int) -> str:
    """A store with ``n_runs`` finished runs of one study, written straight into its tables.

    Every sixth is a sweep, the others are its arms, each with the metrics of two accelerations.
    """
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    experiment = connect(uri).create_experiment("crowd", "file:///nowhere")
    known = sqlalchemy.MetaData()
    engine = sqlalchemy.create_engine(uri)
    known.reflect(engine, only=TABLES)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
    for number in range(n_runs):
        _add(rows, number, int(experiment))
    with engine.begin() as connection:
        for name in TABLES:
            connection.execute(known.tables[name].insert(), rows[name])
    engine.dispose()
    return uri


def _add(rows: dict[str, list[dict[str, object]]], number: int, experiment: int) -> None:
    sweep, arm = divmod(number, ARMS + 1)
    run, parent = f"{number:032x}", f"{sweep * (ARMS + 1):032x}"
    at = int(time.time() * 1000) + 1000 * number
    name = f"arm{arm}" if arm else f"crowd-{sweep}"
    common = {"name": name, "source_type": "LOCAL", "status": "FINISHED", "user_id": "t"}
    times = {"start_time": at, "end_time": at + 1, "lifecycle_stage": "active"}
    rows["runs"].append(
        {"run_uuid": run, "experiment_id": experiment, "artifact_uri": "file:///nowhere/x"}
        | common
        | times
    )
    tags = {"infomri.run": f"crowd-{sweep}", "infomri.kind": "arm" if arm else "sweep"}
    if arm:
        tags |= {"infomri.arm": name, "mlflow.parentRunId": parent}
    rows["tags"] += [{"run_uuid": run, "key": k, "value": v} for k, v in tags.items()]
    params = {"sampler": "infomri", "beta": str(arm * 1e-4), "rounds": "4", "seed": "0"}
    rows["params"] += [{"run_uuid": run, "key": k, "value": v} for k, v in params.items()]
    metrics = {"round": 4.0} if not arm else _figures(np.random.default_rng(number))
    rows["latest_metrics"] += [
        {"run_uuid": run, "key": k, "value": v, "timestamp": at, "step": 4, "is_nan": False}
        for k, v in metrics.items()
    ]


def _figures(generator: np.random.Generator) -> dict[str, float]:
    found = {"n_audit": 200.0, "n_train": 800.0}
    for at in ("16x", "32x"):
        auroc = float(generator.uniform(0.7, 0.95))
        found |= {f"auroc/{at}": auroc, f"auroc_low/{at}": auroc - 0.05}
        found |= {f"auroc_high/{at}": auroc + 0.04, f"psnr_prior/{at}": 15.0}
        found |= {f"psnr_diagnosis/{at}": 16.0, f"n_patients/{at}": 40.0}
        for attack in ("lmmse", "cnn", "unet"):
            psnr = float(generator.uniform(16, 26))
            found |= {f"psnr/{attack}/{at}": psnr, f"ssim/{attack}/{at}": 0.5}
            found |= {f"psnr_low/{attack}/{at}": psnr - 1, f"psnr_high/{attack}/{at}": psnr + 1}
            found |= {f"certified/{attack}/{at}": 1.0}
    return found
