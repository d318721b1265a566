"""A federation of real processes on loopback, for tests: SuperLink, ``infomri-client``s, a run."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Any

from fl_server.authority.certificates import SiteKit, SiteOptions, site_kit
from fl_server.authority.site_keys import write_site_lists
from fl_server.operations.control import Control, RunState
from fl_server.operations.superlink import SuperLink, SuperLinkOptions
from fl_server.serverapp import run_config
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port

ROOT = Path(__file__).parents[2]
SITECUSTOMIZE = """
import sys, types
from tests.support import standin
module = types.ModuleType("fl_server.study.open")
module.run_study = standin.run_study
sys.modules["fl_server.study.open"] = module
"""
CONNECTION = """[superlink]
default = "here"
[superlink.here]
address = "{address}"
root-certificates = "{certificate}"
"""
ANY_DATA = "phantom:?seed=1"
PLAN = """
study.name = "standin"
task.labels = ["finding"]
task.shape = [8, 8]
arms = [{sampler = "uniform"}]
"""


class Federation(ExitStack):
    """Everything lies in ``folder`` and ends with the context. ``standin``: vaults that compute
    nothing and a study of timed phases in place of the real ones. ``address``: what sites dial
    when that is not the SuperLink itself."""

    def __init__(self, folder: Path, *, standin: bool, **environment: str) -> None:
        super().__init__()
        self.folder = folder
        self.standin = standin
        self.clients: dict[str, Popen] = {}
        self.kits: dict[str, SiteKit] = {}
        self.address = ""
        self._environment = {**os.environ, **self._variables(environment)}

    def _variables(self, extra: dict[str, str]) -> dict[str, str]:
        paths = [str(ROOT)]
        if self.standin:
            (self.folder / "path").mkdir(parents=True)
            (self.folder / "path" / "sitecustomize.py").write_text(SITECUSTOMIZE)
            paths.insert(0, str(self.folder / "path"))
        times = {"STANDIN_TIMES": str(self.folder / "times.json")}
        threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        return {**threads, **times, **extra}

    def start_superlink(
        self, centre: str = '[audit]\ndata = "phantom:?seed=1"\n', port: int = 0
    ) -> SuperLink:
        (self.folder / "centre.toml").write_text(centre)
        options = SuperLinkOptions(
            self.folder / "superlink", self.folder / "centre.toml", port=port or free_port()
        )
        before = dict(os.environ)
        os.environ.update(self._environment)
        try:
            self.superlink = self.enter_context(SuperLink(options))
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.control: Control = self.enter_context(self.superlink.control())
        return self.superlink

    def provide(self, name: str, data: str = ANY_DATA, **vault: Any) -> SiteKit:
        policy = {"min_cohort": 2, "approvals": "any"}
        address = self.address or self.superlink.address
        options = SiteOptions(address, data, None, vault, policy)
        kit = site_kit(self.folder / name, name, self.superlink.authority, options)
        self.kits[name] = kit
        return kit

    def start_site(self, kit: SiteKit) -> Popen:
        command: Sequence[str] = [processes.script("infomri-client")]
        if self.standin:
            command = [sys.executable, "-m", "tests.support.standin", "client"]
        log = kit.folder / "client.log"
        full = [*command, "--config", str(kit.settings)]
        client = processes.start(full, log, self._environment)
        self.clients[kit.name] = client
        self.callback(processes.stop, client, 20.0)
        return client

    def join_sites(self, *names: str, data: Callable[[str], str] = lambda _: ANY_DATA) -> None:
        kits = [self.provide(name, data(name), device="cpu", threads=1) for name in names]
        write_site_lists(kits)
        for kit in kits:
            self.control.register(kit.public_key, kit.name)
            self.start_site(kit)

    def submit(self, plan: str = PLAN, resume: str = "") -> str:
        return self.control.submit(run_config(plan, resume))

    def name_here(self, home: Path) -> None:
        """Make this SuperLink the default connection of our commands, with ``FLWR_HOME`` home."""
        home.mkdir(exist_ok=True)
        certificate = self.superlink.authority.certificate
        text = CONNECTION.format(address=self.superlink.address, certificate=certificate)
        (home / "config.toml").write_text(text)

    def finish(self, run_id: str, seconds: float = 150.0) -> RunState:
        wait_for(lambda: self.control.state(run_id).finished, seconds, self.told)
        return self.control.state(run_id)

    def log(self, name: str) -> str:
        path = self.folder / name / "client.log"
        return path.read_text() if path.exists() else ""

    def told(self) -> str:
        """Everything that helps to understand a failure."""
        parts = [f"{name}:\n{self.log(name)}" for name in self.clients]
        return "\n".join([*parts, self.superlink.log.read_text()[-3000:]])

    def times(self) -> list[dict[str, Any]]:
        return list(json.loads((self.folder / "times.json").read_text()))

    def pids(self, *words: str) -> list[int]:
        """Processes of this federation whose command line holds all ``words``."""
        return pids_in(self.folder, *words)

    def kill(self, *words: str) -> None:
        for pid in self.pids(*words):
            os.kill(pid, signal.SIGKILL)


def pids_in(folder: Path, *words: str) -> list[int]:
    """Processes whose command line names ``folder`` and holds all ``words``."""
    found = []
    for entry in Path("/proc").iterdir():
        line = command_line(entry) if entry.name.isdigit() else ""
        if str(folder) in line and all(word in line for word in words):
            found.append(int(entry.name))
    return found


def command_line(process: Path) -> str:
    """Command line of a /proc entry; '' once the process is gone."""
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_for(
    condition: Callable[[], bool], seconds: float, told: Callable[[], str] = lambda: ""
) -> None:
    """Until ``condition`` holds; ``AssertionError`` with what is ``told`` when it takes longer."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s\n{told()}"
        time.sleep(0.1)
