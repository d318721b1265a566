"""A PostgreSQL of this machine on a cluster of its own, for MLflow; it can be restarted."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from benchmarks.faults.fault import NotHere
from infomri_core.machine.ports import free_port

_PROGRAMS = Path("/usr/lib/postgresql")
_START_SECONDS = 60.0


class Database:
    """Runs while the context does; only loopback reaches it, without a password.

    Raises ``NotHere`` where PostgreSQL or its Python driver is not installed. The server does not
    run as root: root runs it as the user ``postgres``.
    """

    def __init__(self) -> None:
        programs = sorted(_PROGRAMS.glob("*/bin"))
        found = shutil.which("initdb")
        driver = importlib.util.find_spec("psycopg2")
        if not programs and found is None:
            raise NotHere("needs PostgreSQL")
        if driver is None or driver.origin is None:
            raise NotHere("needs psycopg2 (the extra 'postgres')")
        self.driver = Path(driver.origin).parents[1]
        self._programs = programs[-1] if programs else Path(str(found)).parent
        self._folder = Path(tempfile.mkdtemp(prefix="faults-postgres"))
        self._become: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            self._become = ["setpriv", *ids]
        self._port = free_port()
        self._cluster = self._folder / "cluster"
        self._server: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        """For MLflow."""
        return f"postgresql+psycopg2://mlflow@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        self._run("initdb", "-U", "mlflow", "-A", "trust", "-D", str(self._cluster))
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}")
        settings = [word for option in options for word in ("-c", option)]
        line = ["postgres", "-D", str(self._cluster), "-p", str(self._port), *settings]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._line(*line), stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        until = time.monotonic() + _START_SECONDS
        ready = self._line("pg_isready", "-h", "127.0.0.1", "-p", str(self._port))
        while subprocess.run(ready, capture_output=True, cwd=self._folder).returncode:
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        """End the server and every connection at once, as a restart does."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        self._server.wait(_START_SECONDS)
        self._server = None

    def _run(self, *line: str) -> None:
        subprocess.run(self._line(*line), check=True, capture_output=True, cwd=self._folder)

    def _line(self, program: str, *more: str) -> list[str]:
        return [*self._become, str(self._programs / program), *more]
