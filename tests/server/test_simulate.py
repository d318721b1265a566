"""A simulation is the federation without its network: same ServerApp, same jobs, same bits."""

import importlib.util
import io
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest import mock

import psutil
import pytest
import tomli_w
import typer
from flwr.app import Context, RecordDict
from flwr.serverapp import Grid
from rich.console import Console

from fl_client import simulated
from fl_client.network import courier
from fl_client.settings import read_settings
from fl_client.vault.process import opened
from fl_server.run import checkpoint
from fl_server.settings import CENTRE_FILE
from fl_server.simulation.hospitals import divide
from fl_server.simulation.run import Simulated, _write, resume, simulate
from fl_server.sites import grid
from fl_server.sites.grid import GridSites
from infomri_core.machine import processes
from infomri_core.messages import DatasetCard, EnrolTask, ErrorReply, wire
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from tests.server.test_full_disks import FULL, filling_up
from tests.support.inprocess import InProcessGrid
from tests.support.small import AUDIT_URI, small_table, study

DATA = "phantom:?patients=10&slices=2"
CENTRE = f"""
[audit]
data = "{AUDIT_URI}"
reader_steps = 0

[centre]
device = "cpu"
threads = 1
"""


def tiny_plan(rounds: int = 2, **sections: object) -> Plan:
    table = small_table(rounds=rounds)
    table["evaluation"]["attacks"] = ["lmmse"]
    table["measurement"]["accelerations"] = [4.0]
    del table["arms"][1:]
    return parse_plan(tomli_w.dumps(table | sections))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [processes.script("infomri"), "simulate", *arguments, "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def session(leader: int) -> list[psutil.Process]:
    """All running processes that the one of id ``leader`` and its children started. (One that has
    ended may wait in the table for an init that is slow to collect it.)"""
    found = []
    for process in psutil.process_iter():
        try:
            ended = process.status() == psutil.STATUS_ZOMBIE
            if os.getsid(process.pid) == leader and not ended:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def listening(members: list[psutil.Process]) -> set[str]:
    """Addresses at which any of the processes listens."""
    found = set()
    for member in members:
        with suppress(psutil.NoSuchProcess):
            sockets = member.net_connections("tcp")
            found |= {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def plan() -> Plan:
    return tiny_plan(rounds=3)


@pytest.fixture(scope="module")
def expected(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of ``plan`` in the in-process federation, over vaults that stay open."""
    folder = tmp_path_factory.mktemp("federated")
    wanted = Simulated(3, DATA, 2)
    _write(folder, plan, divide(plan, DATA, 3, 2), wanted)
    with ExitStack() as stack:
        stack.enter_context(mock.patch("fl_server.study.study.evaluate_study"))
        handles = {}
        for node, site in enumerate(sorted((folder / "sites").iterdir()), start=1):
            settings = read_settings(site / "site.toml")
            handles[node] = stack.enter_context(opened(settings, lambda: False)).handle
        study(plan, GridSites(InProcessGrid(handles)), folder).run()
    return folder / "run" / "checkpoints"


def weights(checkpoints: Path, number: int) -> dict[str, bytes]:
    """The arms after a round, to the bit."""
    (file,) = checkpoints.glob(f"round-*{number}.*")
    saved = checkpoint.load(file)
    assert saved.round == number
    return {name: flat.tobytes() for name, flat in saved.arms.items()}


@pytest.mark.processes
def test_sites_in_rays_processes_give_the_weights_of_the_federation_and_leave_nothing_behind(
    tmp_path: Path, plan: Plan, expected: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "plan.toml").write_text(plan.text)
    (tmp_path / "centre.toml").write_text(CENTRE)
    begun = start(
        *(str(tmp_path / "plan.toml"), "--sites", "3", "--data", DATA, "--min-cohort", "2"),
        *("--centre", str(tmp_path / "centre.toml"), "--out", str(out)),
    )
    until = time.monotonic() + 200
    while not list(out.glob("centre/*/checkpoints/round-*2.*")) and time.monotonic() < until:
        time.sleep(0.05)
    heard = listening(session(begun.pid))
    begun.send_signal(signal.SIGINT)
    printed, _ = begun.communicate(timeout=90)
    assert begun.returncode == 130 and "--resume" in printed, printed
    assert heard and heard <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert session(begun.pid) == []
    (checkpoints,) = out.glob("centre/*/checkpoints")
    assert weights(checkpoints, 2) == weights(expected, 2)


def stopping(sites: Path, after: int) -> InProcessGrid:
    """A grid whose every message opens a simulated site; Ctrl-C comes after so many."""
    asked = itertools.count(1)

    def handle(folder: Path, data: bytes) -> bytes:
        if next(asked) > after:
            raise KeyboardInterrupt
        return courier.unpack(simulated.reply_of(folder, courier.pack(data)))

    folders = sorted(sites.iterdir())
    return InProcessGrid({n: partial(handle, folder) for n, folder in enumerate(folders, 1)})


def opening_sites(monkeypatch: pytest.MonkeyPatch, out: Path, limits: Iterator[int]) -> None:
    """In place of Ray's processes, for so many messages at each start."""

    @contextmanager
    def grid(app: object, n_sites: int, resources: object) -> Iterator[tuple[Grid, Context]]:
        assert n_sites == 3
        made = stopping(out / "sites", next(limits))
        yield made, Context(made.run.run_id, 1, {}, RecordDict(), {})

    monkeypatch.setattr("fl_server.simulation.run.simulated_grid", grid)
    monkeypatch.setattr("fl_server.simulation.run.variables", lambda sites: {})


def test_an_interrupted_simulation_goes_on_to_the_very_same_weights(
    tmp_path: Path, plan: Plan, expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, out = iter((8, 10**6)), tmp_path / "out"
    monkeypatch.setenv(CENTRE_FILE, "of another federation")

    opening_sites(monkeypatch, out, limits)
    (tmp_path / "centre.toml").write_text(CENTRE)
    wanted = Simulated(3, DATA, 2, 1, tmp_path / "centre.toml")
    with pytest.raises(typer.Exit):
        simulate(plan, wanted, out, Console(quiet=True))
    (checkpoints,) = out.glob("centre/*/checkpoints")
    assert checkpoint.latest(checkpoints).round == 1
    printed = io.StringIO()
    resume(out, 1, Console(file=printed))
    assert "AUROC" in printed.getvalue()
    assert weights(checkpoints, 3) == weights(expected, 3)
    assert (checkpoints.parent / "results.json").exists() and (out / "mlflow.db").exists()
    assert "round 3/3" in (out / "simulation.log").read_text()
    assert os.environ[CENTRE_FILE] == "of another federation"


def test_a_simulation_whose_disk_fills_up_keeps_whole_rounds_and_says_how_it_continues(
    tmp_path: Path, plan: Plan, expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    opening_sites(monkeypatch, out, itertools.repeat(10**6))
    real = checkpoint.write_atomically
    monkeypatch.setattr(checkpoint, "write_atomically", filling_up(real, 2))
    (tmp_path / "centre.toml").write_text(CENTRE)
    wanted = Simulated(3, DATA, 2, 1, tmp_path / "centre.toml")
    with pytest.raises(InputError, match=f"{FULL}; make room; whole rounds are kept") as raised:
        simulate(plan, wanted, out, Console(quiet=True))
    assert f"simulate --resume {out}" in raised.value.remedy
    (checkpoints,) = out.glob("centre/*/checkpoints")
    kept = checkpoint.latest(checkpoints).round
    assert 1 <= kept < 3
    monkeypatch.setattr(checkpoint, "write_atomically", real)
    resume(out, 1, Console(quiet=True))
    assert weights(checkpoints, 3) == weights(expected, 3)


@pytest.mark.parametrize(
    ("sections", "data", "n_sites", "min_cohort", "told"),
    [
        ({}, DATA, 1, 1, r"--sites: expected 2 \.\. 1000, got 1"),
        ({}, DATA, 1001, 1, "--sites"),
        ({"training": {"quorum": 4}}, DATA, 3, 1, "quorum"),
        ({"training": {"quorum": 3}, "aggregation": {"secure": True}}, DATA, 3, 1, "secure"),
        ({}, DATA, 3, 5, "2 at site0001"),
        ({}, f"{DATA}&size=64", 3, 1, "shape"),
        ({}, f"{DATA}&hospital=north", 3, 1, "without 'hospital'"),
        ({"task": {"labels": ["odd"], "shape": [32, 32]}}, DATA, 3, 1, "labels"),
        ({}, "slices:/nowhere.h5", 3, 1, "nowhere"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    sections: dict[str, object], data: str, n_sites: int, min_cohort: int, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        divide(tiny_plan(**sections), data, n_sites, min_cohort)


def test_without_ray_the_extra_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"infomri-federated\[simulation\]"):
        simulate(tiny_plan(), Simulated(3, DATA, 2), tmp_path / "out", Console())
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_neither_begun_in_nor_resumed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="empty"):
        simulate(tiny_plan(), Simulated(3, DATA, 2), tmp_path, Console())
    with pytest.raises(InputError, match="a simulation with one run"):
        resume(tmp_path, 1, Console())


def test_a_disk_too_small_for_what_sites_keep_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1))
    with pytest.raises(InputError, match="GiB free"):
        simulate(tiny_plan(), Simulated(3, DATA, 2), tmp_path / "out", Console())


def test_a_site_that_cannot_be_opened_answers_with_an_error(tmp_path: Path) -> None:
    plan = tiny_plan()
    _write(tmp_path, plan, divide(plan, DATA, 2, 2), Simulated(2, DATA, 2))
    folder = tmp_path / "sites" / "site0001"
    task = grid.pack(wire.encode(EnrolTask(plan.text, time.time() + 60).to_message()))
    with opened(read_settings(folder / "site.toml"), lambda: False):
        busy = grid.unpack(simulated.reply_of(folder, task))
    assert isinstance(busy, ErrorReply) and busy.code == "vault-unreachable"
    odd = grid.unpack(simulated.reply_of(folder, RecordDict()))
    assert isinstance(odd, ErrorReply) and odd.code == "bad-message"
    card = grid.unpack(simulated.reply_of(folder, task))
    assert isinstance(card, DatasetCard) and card.site == "site0001"
