"""Starting the dashboard on the MLflow store of a run."""

import importlib.util
import sys
from pathlib import Path

from fl_server.tracking.store import find_store
from infomri_core.machine import processes
from infomri_core.machine.interrupts import Interrupts
from infomri_core.machine.moved_store import follow_move
from infomri_core.machine.sqlite_uri import sqlite_uri
from infomri_core.system.errors import InputError

STOP_SECONDS = 2.0


def serve_dashboard(run: Path, port: int) -> None:
    """Run Streamlit on loopback until it is stopped, reading the store of ``run``."""
    store = find_store(run)
    follow_move(store)
    if importlib.util.find_spec("dashboard") is None:
        raise InputError("dashboard", "the package 'dashboard'", "none", "reinstall infomri")
    command = [sys.executable, "-m", "dashboard", sqlite_uri(store), "--port", str(port)]
    code = _served(command)
    if code:
        raise InputError(
            "dashboard", "a free port", f"port {port} (exit code {code})", "use --port"
        )


def _served(command: list[str]) -> int:
    """The exit code of the server, 0 where somebody stopped it."""
    try:
        with Interrupts():
            server = processes.start(command, None)
            try:
                return server.wait()
            finally:
                processes.stop(server, STOP_SECONDS)
    except KeyboardInterrupt:
        return 0
