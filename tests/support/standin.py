"""Stand-ins for processes under test: a vault that computes nothing, a study that trains nothing.

``python -m tests.support.standin vault --config site.toml`` serves the vault's socket;
``python -m tests.support.standin client --config site.toml`` is ``infomri-client`` with that
vault.
"""

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infomri_core.messages import (
    DatasetCard,
    EnrolTask,
    EvaluateReply,
    EvaluateTask,
    SiteTask,
    TrainReply,
    TrainTask,
    task_from,
    wire,
)

if TYPE_CHECKING:
    from fl_server.sites.base import Sites


def answer(site: str, task: SiteTask) -> DatasetCard | TrainReply | EvaluateReply:
    """What the stand-in site replies: its card, the weights plus one, no scores."""
    if isinstance(task, EnrolTask):
        return DatasetCard(site, 10, 40, (20,), (8, 8), ("finding",), {})
    if isinstance(task, TrainTask):
        return TrainReply(4, {name: flat + 1 for name, flat in task.arms.items()})
    assert isinstance(task, EvaluateTask)
    return EvaluateReply(10, {})


def handle(site: str, data: bytes) -> bytes:
    """Bytes in, bytes out, as the vault does it."""
    task = task_from(wire.decode(data))
    pause = Path(os.environ.get("STANDIN_PAUSE", "/nonexistent"))
    while pause.exists() and isinstance(task, TrainTask):
        time.sleep(0.05)
    return wire.encode(answer(site, task).to_message())


def serve_vault(config: Path) -> None:
    from fl_client.settings import read_settings
    from fl_client.sockets import channel

    settings = read_settings(config)
    name = settings.site.name
    channel.serve(settings.vault.socket_path, lambda data: handle(name, data), threading.Event())


def run_client(config: Path) -> int:
    import logging

    from fl_client import cli
    from fl_client.settings import read_settings
    from fl_client.supervision import site_processes
    from fl_client.supervision.site_lock import lock_folder
    from fl_client.supervision.supervisor import Supervisor

    cli._log_to_stdout()
    lock_folder(read_settings(config).vault.state)
    vault = (sys.executable, "-m", "tests.support.standin", "vault", "--config", str(config))
    listed = [
        replace(part, command=vault) if part.name == "vault" else part
        for part in site_processes.site_processes(config, read_settings(config))
    ]
    stop = cli._stop_on_signals()
    return Supervisor(listed, logging.getLogger("infomri.client").info, stop).run()


def run_study(plan: object, centre: object, sites: "Sites", **names: str) -> None:
    """Phases over the sites, enrolment first, timed into the file ``STANDIN_TIMES`` names."""
    n = int(os.environ.get("STANDIN_FLOATS", "1000"))
    wanted, phases = int(os.environ["STANDIN_SITES"]), []
    while len(sites.online()) < wanted:
        time.sleep(0.1)
    weights = {"arm": np.zeros(n, np.float32)}
    for number in range(int(os.environ.get("STANDIN_ROUNDS", "2"))):
        started = time.time()
        until = started + 120
        task: SiteTask = EnrolTask("plan", until)
        if number:
            task = TrainTask("plan", number, until, np.zeros((2, 8, 8)), weights)
        # As in a real study, one reply is held at a time.
        replies = [(node, type(reply).__name__) for node, reply in sites.ask(task, sites.online())]
        phases.append(
            {
                "phase": type(task).__name__,
                "seconds": time.time() - started,
                "replies": replies,
            }
        )
    Path(os.environ["STANDIN_TIMES"]).write_text(json.dumps(phases))


if __name__ == "__main__":
    role, path = sys.argv[1], Path(sys.argv[3])
    sys.exit(run_client(path) if role == "client" else serve_vault(path))
