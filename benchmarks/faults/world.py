"""A federation of real processes and one study in it that is disturbed, and what became of it."""

import io
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from benchmarks.faults.relay import Relay
from fl_client.commands.plans import approve
from fl_client.memory.ledger import read_ledger
from fl_server.authority.certificates import SiteKit
from fl_server.operations.control import RunState
from fl_server.run import checkpoint
from fl_server.run.events import read_events
from fl_server.study.round import train_round
from infomri_core.data import open_dataset
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support.realfederation import Federation, command_line, wait_for
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_table, study

PATIENCE = 400.0
SITES = ("a", "b")
CENTRE = {
    "audit": {"data": AUDIT_URI, "cnn_steps": 2, "unet_steps": 2},
    "centre": {"directory": "runs", "device": "cpu", "threads": 1},
}
PHASES = {
    "enrol": "query.enrol",
    "train": "train",
    "score": "evaluate",
    "release": "query.release",
}
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ")


class World(Federation):
    """Sites ``a`` and ``b`` and the study ``name``; what happens, happens to ``a``."""

    def __init__(self, folder: Path, name: str, **training: Any) -> None:
        super().__init__(folder, standin=False)
        folder.mkdir(parents=True)
        (folder / "runs").mkdir()
        table = small_table(
            **{"rounds": 2, "quorum": 2, "deadline_seconds": 300.0, "local_steps": 2} | training
        )
        table["study"]["name"] = name
        table["arms"] = [{"sampler": "uniform"}]
        table["evaluation"] |= {"attacks": ["lmmse"]}
        table["release"] = {"arm": "uniform-s0", "acceleration": 8.0}
        self.plan: Plan = parse_plan(tomli_w.dumps(table))
        self.variables: dict[str, dict[str, str]] = {}
        self.relay: Relay | None = None
        self.run_id = self.first_run = ""
        self.mark = 0

    def begin(self) -> None:
        """Start everything and submit the study."""
        self.start_superlink(tomli_w.dumps(CENTRE))
        for name in SITES:
            self.join(name)
        self.run_id = self.first_run = self.submit(self.plan.text)

    def join(self, name: str) -> None:
        """Make a site that approves the plan and whose patients consent, and start it."""
        if name == "a" and self.relay is not None:
            self.address = self.relay.start(self.superlink.address)
        kit = self.provide(name, site_uri(name), device="cpu", threads=1)
        self.address = ""
        patients = sorted(set(open_dataset(site_uri(name)).table.patients.astype(str)))
        (kit.folder / "consent.txt").write_text("\n".join(patients))
        text = kit.settings.read_text().replace('approvals = "any"', 'approvals = "listed"')
        limits = '[policy]\nconsent = "consent.txt"\nmax_released_fraction = 0.9\n'
        kit.settings.write_text(text.replace("[policy]\n", limits))
        plan = self.folder / "plan.toml"
        plan.write_bytes(self.plan.text.encode())
        with redirect_stdout(io.StringIO()):
            approve(str(plan), config=kit.settings, by="the benchmark")
        self.control.register(kit.public_key, name)
        self.start_site(kit)

    def start_site(self, kit: SiteKit) -> Any:
        before = dict(self._environment)
        self._environment |= self.variables.get(kit.name, {})
        try:
            return super().start_site(kit)
        finally:
            self._environment = before

    @property
    def runs(self) -> Path:
        """What the study centre keeps of the study."""
        return self.folder / "runs" / f"{self.plan.study.name}-{self.first_run}"

    def reach(self, phase: str) -> None:
        """Wait until site a has the task of ``phase`` and its vault holds it, or has answered."""
        task = f"task received: {PHASES[phase]}"
        wait_for(lambda: task in self.log("a")[self.mark :], PATIENCE, self.told)
        self.mark = len(self.log("a"))

    @contextmanager
    def held(self, phase: str) -> Iterator[None]:
        """Within the context site a's vault stands still with the task of ``phase`` before it."""
        self.reach(phase)
        vault = self.of_a("fl_client.vault.process")
        for pid in vault:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: len(self.of_a("fl_client.network.executor")) > 1, 15, self.told)
        time.sleep(0.5)
        try:
            yield
        finally:
            for pid in vault:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGCONT)

    def of_a(self, module: str) -> list[int]:
        """Site a's processes of a module, the oldest first."""
        return sorted(self.pids(module, str(self.kits["a"].folder)))

    def of_centre(self, word: str) -> list[int]:
        """What the SuperLink started whose command line holds ``word``."""
        return [pid for pid in descendants(self.superlink.pid) if word in running(pid)]

    def restart_superlink(self) -> None:
        """After its death, on the same port and database."""
        self.control.close()
        self.superlink.stop()
        self.start_superlink(tomli_w.dumps(CENTRE), self.superlink.options.port)

    def state(self) -> RunState:
        """How the newest run ended."""
        return self.finish(self.run_id, PATIENCE)

    def resume(self) -> None:
        """What the operator does after a run that failed: `infomri run --resume`."""
        self.run_id = self.submit(self.plan.text, resume=self.runs.name)

    def seen(self, pattern: str, site: str = "a") -> str:
        """The first line in a site's log that matches, without its time; '' where none does."""
        lines = [_TIME.sub("", line) for line in self.log(site).splitlines()]
        return next((line for line in lines if re.search(pattern, line)), "")

    def event(self, pattern: str) -> str:
        """The first sentence of the study centre's events that matches."""
        events, _ = read_events(self.runs / "events.jsonl")
        sentences = [str(event["sentence"]) for event in events]
        return next((said for said in sentences if re.search(pattern, said)), "")

    def undisturbed(self) -> bool:
        """Whether the final weights have the very bits of the same study without any fault."""
        saved = checkpoint.latest(self.runs / "checkpoints", self.plan.digest)
        torch.set_num_threads(1)
        other = study(self.plan, local_sites(self.folder / "reference"), self.folder / "reference")
        state = other._restore()
        while state.round < self.plan.training.rounds:
            train_round(other._setting, state)
        assert saved is not None and saved.round == state.round
        return all(np.array_equal(flat, saved.arms[name]) for name, flat in state.arms.items())

    def ledgers(self) -> tuple[int, bool]:
        """Departures at both sites (their chains verified), and whether all of them belong to
        the approved plan."""
        paths = [kit.folder / "state" / "ledger.jsonl" for kit in self.kits.values()]
        entries = [entry for path in paths if path.exists() for entry in read_ledger(path)]
        return len(entries), all(entry.run in (self.plan.digest, "") for entry in entries)


def descendants(pid: int) -> set[int]:
    """All processes that ``pid`` started, and they in turn."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = _parent(entry)
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def running(pid: int) -> str:
    """The command line of a process."""
    return command_line(Path(f"/proc/{pid}"))


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
