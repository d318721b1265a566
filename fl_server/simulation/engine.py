"""Flower's simulation engine as a grid: its sites are called in Ray's processes on this machine.

The engine's own ServerApp only hands its grid over and waits, so that the study runs in the main
thread, where Ctrl-C and errors reach it. ``run_simulation`` is marked as deprecated for ``flwr
run``, which would leave no say in Ray's memory and folder, and a SuperLink to look after.
"""

import contextlib
import importlib.util
import io
import logging
import os
import queue
import secrets
import shutil
import tempfile
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import psutil  # type: ignore[import-untyped]
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fl_server.simulation.pace import PacedState
from fl_server.study.failure import StudyFailed
from infomri_core.system.errors import InputError

SITES = "INFOMRI_SIMULATED_SITES"
START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_MESSAGES_A_WORKER = 16
_WORKER = "ray::ClientApp"
_WATCH_SECONDS = 5.0
_LOOPBACK = ("127.0.0.1", "::1")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """``workers`` processes play the sites, each with one core and its share of ``gpus``;
    ``store_bytes`` of shared memory hold messages on their way."""

    workers: int
    gpus: int
    store_bytes: int


def need_ray() -> None:
    """``InputError`` that names the extra when Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        remedy = "install it with `pip install 'infomri-federated[simulation]'`"
        raise InputError("infomri simulate", "the library 'ray'", "none installed", remedy)


def variables(sites: Path) -> dict[str, str]:
    """What Ray and Flower read when they are imported: loopback addresses only, a token that only
    this run knows (Ray's ports take code from any process that reaches them), no telemetry; and
    where the simulated ``sites`` have their folders."""
    return {
        # Of this variable's two meanings the one that counts on Linux: no address but loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "FLWR_TELEMETRY_ENABLED": "0",
        SITES: str(sites),
    }


@contextlib.contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """``settings`` among this process's variables, and what there was before in the end."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def simulated_grid(
    app: ClientApp, n_sites: int, resources: Resources
) -> Iterator[tuple[Grid, Context]]:
    """A grid of ``n_sites`` nodes that run ``app``, and the context of its run.

    Start it from the main thread, in the :func:`environment` of :func:`variables`. Every process
    that was started is stopped in any case. Raises ``StudyFailed`` when the engine ends by itself.
    """
    with _ray(resources):
        engine = _Engine(app, n_sites, resources)
        try:
            yield engine.handed_over()
        except BaseException as error:
            engine.abandon()
            if engine.failure:
                told = f"{engine.failure}; whole rounds are kept, --resume continues"
                raise StudyFailed(told) from error
            raise
        finally:
            engine.stop()


@final
class _Engine:
    """Flower's engine in a thread of its own."""

    def __init__(self, app: ClientApp, n_sites: int, resources: Resources) -> None:
        self.failure = ""
        self._n_sites = n_sites
        self._window = _MESSAGES_A_WORKER * resources.workers
        self._grids: queue.Queue[tuple[Any, Context]] = queue.Queue()
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(app, resources), name="simulation", daemon=True
        )
        self._thread.start()

    def handed_over(self) -> tuple[Grid, Context]:
        """The grid, once all its nodes are there."""
        until = time.monotonic() + START_SECONDS
        grid, context = self._grids.get(timeout=START_SECONDS)
        while len(list(grid.get_node_ids())) < self._n_sites:
            if time.monotonic() > until:
                raise StudyFailed(f"not all of {self._n_sites} simulated sites came up")
            time.sleep(0.05)
        grid.state = PacedState(grid.state, self._window)
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        return grid, context

    def abandon(self) -> None:
        """Running jobs end now. (After ``ray.shutdown`` the engine would await them for ever.)"""
        self._done.set()
        for worker in _workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    def stop(self) -> None:
        """End the engine once running jobs have ended, and wait until its processes are gone."""
        workers = _workers()
        self._done.set()
        # Ray tells on stdout of workers that end.
        with contextlib.redirect_stdout(io.StringIO()):
            self._thread.join()
            psutil.wait_procs(workers, _STOP_SECONDS)

    def _run(self, app: ClientApp, resources: Resources) -> None:
        from flwr.simulation import run_simulation

        server = ServerApp()

        @server.main()
        def hand_over(grid: Grid, context: Context) -> None:
            self._grids.put((grid, context))
            self._done.wait()

        share = {"num_cpus": 1, "num_gpus": _share(resources)}
        backend: dict[str, Any] = {"client_resources": share}
        try:
            run_simulation(server, app, self._n_sites, backend_config=backend)
        except BaseException as error:
            _log.exception("the simulation engine failed")
            self._fail(f"the simulation engine ended: {error}")
        finally:
            self._done.set()

    def _watch(self) -> None:
        """Fail when a worker is gone: the engine would go on asking it, in vain."""
        most = 0
        while not self._done.wait(_WATCH_SECONDS):
            n_workers = len(_workers())
            if n_workers < most:
                self._fail("a process that played sites was killed (for want of memory?)")
            most = max(most, n_workers)

    def _fail(self, why: str) -> None:
        """Interrupt the study, unless it is over."""
        if not self._done.is_set():
            self.failure = why
            self._done.set()
            interrupt_main()


def _workers() -> list[psutil.Process]:
    """Ray's processes that play sites."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith(_WORKER):
                found.append(child)
    return found


def _share(resources: Resources) -> float:
    """The part of a GPU that a worker may take, rounded down so that all of them fit."""
    share = resources.gpus / resources.workers
    return float(int(share)) if share >= 1 else int(share * 10_000) / 10_000


@contextlib.contextmanager
def _ray(resources: Resources) -> Iterator[Any]:
    """Ray on this machine; its files lie in a short-lived folder with a short name, as the paths
    of its sockets must not be long."""
    import ray

    folder = tempfile.mkdtemp(prefix="infomri-")
    try:
        ray.init(
            address="local",
            num_cpus=resources.workers,
            num_gpus=resources.gpus,
            object_store_memory=resources.store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address=_LOOPBACK[0],
            _temp_dir=folder,
        )
        address = ray.util.get_node_ip_address()
        if address not in _LOOPBACK:
            raise RuntimeError(f"Ray listens at {address}: it was imported before its settings")
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
