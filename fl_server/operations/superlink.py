"""Starts and stops a real ``flower-superlink`` with TLS, node authentication and SQLite state."""

import contextlib
import os
import sqlite3
import subprocess
import sysconfig
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fl_server.authority.certificates import LOOPBACK, Authority, authority, server_certificate
from fl_server.operations.control import Control
from fl_server.settings import CENTRE_FILE
from infomri_core.machine import processes
from infomri_core.machine.ports import check_port, without_local_proxy
from infomri_core.system.errors import InputError

START_SECONDS = 60.0
DATABASE = "state.db"


def environment(home: Path) -> dict[str, str]:
    """Environment of every Flower process: private ``home``, no telemetry, no update check, no
    installing of what an app asks for, and this Python environment first on the path."""
    scripts = sysconfig.get_path("scripts")
    return {
        **without_local_proxy(),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


@dataclass(frozen=True)
class SuperLinkOptions:
    """Where a SuperLink keeps its things (``folder``) and listens; ``centre`` is centre.toml."""

    folder: Path
    centre: Path
    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = LOOPBACK


class SuperLink(AbstractContextManager["SuperLink"]):
    """A running SuperLink; leaving the context ends it and everything it started.

    Keys, database, log and FLWR_HOME lie in the options' folder and are used again, so a
    SuperLink started there a second time knows its sites and its runs. Start it from the main
    thread: it is tied to that thread's life. Raises ``InputError`` when it does not come up.
    """

    def __init__(self, options: SuperLinkOptions) -> None:
        check_port(options.host, options.port)
        self.options = options
        self.log = options.folder / "superlink.log"
        self.authority: Authority = authority(options.folder / "ca")
        self._process = self._start()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """host:port of all its APIs."""
        return f"{self.options.host}:{self.options.port}"

    @property
    def pid(self) -> int:
        """Process id of ``flower-superlink``."""
        return self._process.pid

    def control(self) -> Control:
        """A new connection to its Control API."""
        return Control(self.address, self.authority.certificate)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it; a run that is under way becomes ``failed`` and can be resumed."""
        processes.stop(self._process)

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self) -> subprocess.Popen:
        folder = self.options.folder
        server = folder / "server"
        if not (server / "server.crt").exists():
            server_certificate(self.authority, server, self.options.names)
        command = [
            processes.script("flower-superlink"),
            *("--ssl-ca-certfile", str(self.authority.certificate)),
            *("--ssl-certfile", str(server / "server.crt")),
            *("--ssl-keyfile", str(server / "server.key")),
            *("--host", self.options.host, "--port", str(self.options.port)),
            *("--database", str(folder / DATABASE)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
        variables = {**environment(folder / "flwr"), CENTRE_FILE: str(self.options.centre)}
        return processes.start(command, self.log, variables)

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        with self.control() as control:
            while self.alive() and time.monotonic() < until:
                try:
                    control.nodes()
                    return
                except InputError:
                    time.sleep(0.1)
        _check_database(self.options.folder / DATABASE)
        lines = self.log.read_text(errors="replace").splitlines()[-5:]
        got = " | ".join(lines) or "silence"
        raise InputError(self.address, "a SuperLink that starts", got, f"see {self.log}")


def _check_database(path: Path) -> None:
    """Raise ``InputError`` where the SuperLink's database is damaged, and say how to go on."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
            found = str(opened.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.OperationalError:
        # Not there, or held by another: not what this is about.
        return
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        remedy = (
            "move it away and start again; register the sites again (`infomri provision "
            "--register`), then `infomri run --resume RUN`: checkpoints are not in it"
        )
        raise InputError(str(path), "the SuperLink's database", f"a damaged one ({found})", remedy)
