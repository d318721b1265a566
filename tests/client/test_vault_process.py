"""A real vault: phantoms, torch and a process of its own behind the socket."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fl_client.memory.ledger import read_ledger
from fl_client.sockets import channel
from fl_client.sockets.status import VaultStatus, vault_status
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    reply_from,
    wire,
)
from infomri_core.plan.plan import Plan
from tests.support.vault_fakes import FAR, make_plan

URI = "phantom:?patients=30&slices=2&size=32&seed=3&hospital=north&prevalence=0.4"
SITE_TOML = f"""
[site]
name = "north"
[superlink]
address = "127.0.0.1:9092"
insecure = true
[data]
uri = "{URI}"
[vault]
device = "cpu"
threads = 1
[policy]
min_cohort = 4
approvals = "any"
"""


def phantom_plan(steps: int = 2) -> Plan:
    labels = list(open_dataset(URI).table.label_names)
    return make_plan(
        task={"labels": labels, "shape": [32, 32]},
        training={"rounds": 1, "local_steps": steps, "batch_size": 8},
    )


def weights(plan: Plan) -> dict[str, np.ndarray]:
    return {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms}


def train_task(plan: Plan, deadline: float = FAR) -> TrainTask:
    variance = np.ones((2, 32, 32), np.float32)
    return TrainTask(plan.text, 1, deadline, variance, weights(plan))


class RunningVault:
    """A vault's process, its socket and its log."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "state" / "run" / "vault.sock"
        self.status = folder / "state" / "status" / "status.sock"
        self.ledger = folder / "state" / "ledger.jsonl"
        self.log = folder / "vault.log"
        (folder / "site.toml").write_text(SITE_TOML)
        command = [
            sys.executable,
            "-m",
            "fl_client.vault.process",
            "--config",
            str(folder / "site.toml"),
        ]
        with self.log.open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, stderr=log, env=environment)

    def wait(self) -> None:
        end = time.monotonic() + 120
        while vault_status(self.status) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()

    def ask(self, task: SiteTask) -> SiteReply:
        data = channel.call(self.socket, wire.encode(task.to_message()), 120)
        return reply_from(wire.decode(data))

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(60)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RunningVault]:
    vault = RunningVault(folder)
    try:
        vault.wait()
        yield vault
    finally:
        vault.process.kill()
        vault.process.wait(60)


@pytest.mark.processes
def test_a_study_goes_through_a_real_vault_and_survives_its_death(tmp_path: Path) -> None:
    plan = phantom_plan()
    with running(tmp_path) as vault:
        assert vault_status(vault.status) == VaultStatus("north", False)
        card = vault.ask(EnrolTask(plan.text, FAR))
        assert isinstance(card, DatasetCard)
        assert (card.n_patients, card.n_slices) == (30, 60)
        trained = vault.ask(train_task(plan))
        assert isinstance(trained, TrainReply)
        assert vault.stop(signal.SIGKILL) == -signal.SIGKILL
    with running(tmp_path) as vault:
        again = vault.ask(train_task(plan))
        assert isinstance(again, TrainReply)
        assert all(np.array_equal(again.arms[name], trained.arms[name]) for name in trained.arms)
        scores = vault.ask(EvaluateTask(plan.text, 1, FAR, trained.arms))
        assert isinstance(scores, EvaluateReply)
        assert set(scores.scores) == {(arm.name, 4.0) for arm in plan.arms}
        late = vault.ask(train_task(phantom_plan(steps=3), time.time() - 1))
        assert isinstance(late, ErrorReply)
        assert late.code == "deadline"
        assert vault.stop() == 0
    assert not vault.socket.exists()
    entries = [(e.job, e.kind, e.repetition) for e in read_ledger(vault.ledger)]
    assert entries == [
        ("enrol", "charge", False),
        ("enrol", "card", False),
        ("train", "charge", False),
        ("train", "trained", False),
        ("train", "trained", True),
        ("evaluate", "charge", False),
        ("evaluate", "evaluated", False),
        ("train", "error", False),
    ]
    patients = set(map(str, open_dataset(URI).table.patients))
    log = vault.log.read_text()
    assert len(re.findall(r"job=\w+ round=\d run=\w{12} outcome=", log)) == 5
    assert not any(patient in log for patient in patients)


@pytest.mark.processes
def test_sigterm_cancels_a_long_job_and_ends_in_order(tmp_path: Path) -> None:
    plan = phantom_plan(steps=10_000)
    with running(tmp_path) as vault:
        data = wire.encode(train_task(plan).to_message())
        script = (
            "import sys; from pathlib import Path; from fl_client.sockets import channel\n"
            "answer = channel.call(Path(sys.argv[1]), sys.stdin.buffer.read(), 120)\n"
            "sys.stdout.buffer.write(answer)"
        )
        command = [sys.executable, "-c", script, str(vault.socket)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as courier:
            assert courier.stdin is not None
            courier.stdin.write(data)
            courier.stdin.close()
            while not getattr(vault_status(vault.status), "busy", False):
                assert courier.poll() is None
            assert vault.stop() == 0
            assert courier.stdout is not None
            reply = reply_from(wire.decode(courier.stdout.read()))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "stopping"
    assert [e.kind for e in read_ledger(vault.ledger)] == ["charge", "error"]


@pytest.mark.processes
def test_a_broken_chain_keeps_the_vault_from_starting(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.jsonl").write_text('{"kind": "card"}\n')
    vault = RunningVault(tmp_path)
    assert vault.process.wait(120) == 2
    assert "line 1: expected an unbroken chain" in vault.log.read_text()
    assert vault.ledger.read_text() == '{"kind": "card"}\n'
