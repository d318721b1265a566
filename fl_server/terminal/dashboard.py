"""Starting the dashboard on the MLflow store of a run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from fl_server.tracking.store import find_store
from infomri_core.machine.sqlite_uri import sqlite_uri
from infomri_core.system.errors import InputError


def serve_dashboard(run: Path, port: int) -> None:
    """Run Streamlit on loopback until it is stopped, reading the store of ``run``."""
    store = find_store(run)
    if importlib.util.find_spec("dashboard") is None:
        raise InputError("dashboard", "the package 'dashboard'", "none", "reinstall infomri")
    command = [sys.executable, "-m", "dashboard", sqlite_uri(store), "--port", str(port)]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, -2, 130):
        raise InputError(
            "dashboard", "a free port", f"port {port} (exit code {done.returncode})", "use --port"
        )
