"""A federation of real processes that stands over several studies, each disturbed once."""

import io
import json
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout, suppress
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from benchmarks.faults import machine
from benchmarks.faults.database import Database
from benchmarks.faults.fault import Heal, Shot
from benchmarks.faults.relay import Relay
from fl_client.commands.plans import approve
from fl_client.memory.ledger import read_ledger
from fl_server.authority.certificates import SiteKit
from fl_server.authority.site_keys import write_site_lists
from fl_server.operations.control import RunState
from fl_server.run import checkpoint
from fl_server.run.events import read_events
from fl_server.study.round import train_round
from infomri_core.data import open_dataset
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support.realfederation import Federation, wait_for
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_table, study

PATIENCE = 300.0
ATTEMPTS = 4
LINE_SECONDS = 90.0
LONG = "b-with-a-name-of-sixty-four-letters-which-is-the-longest-allowed"
NAMES = {"a": "a", "b": LONG, "c": "c"}
CENTRE = {
    "audit": {"data": AUDIT_URI, "cnn_steps": 2, "unet_steps": 2, "reader_steps": 2},
    "centre": {"directory": "runs", "device": "cpu", "threads": 1},
}
KINDS = {
    "enrol": "query.enrol",
    "train": "train",
    "score": "evaluate",
    "release": "query.release",
    "announce": "query.announce",
    "share": "query.share",
    "unmask": "query.unmask",
}
AGAIN = "start the study again"
TASK = "task received"
"""What a site writes of each: a fault after the last one strikes nothing of the study."""
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ")


class World(Federation):
    """Sites a and b, or three under secure aggregation, each behind a relay; ``strikes`` happen to
    one of them or to the study centre. What they keep lies on small disks where this user may
    mount any. ``database``: where MLflow keeps its store, instead of a file."""

    def __init__(
        self, folder: Path, *, secure: bool = False, database: Database | None = None
    ) -> None:
        folder.mkdir(parents=True)
        self.flags = folder / "flags"
        self.flags.mkdir()
        super().__init__(folder, standin=False, FAULTS_FLAGS=str(self.flags))
        self.secure, self.letters = secure, "abc" if secure else "ab"
        self._environment["PYTHONPATH"] += os.pathsep + str(folder / "path")
        (folder / "path").mkdir()
        (folder / "path" / "sitecustomize.py").write_text(machine.SITECUSTOMIZE)
        self.relays = {letter: Relay() for letter in self.letters}
        self.disks = {"centre": folder / "runs"}
        self.disks |= {n: folder / NAMES[n] / "state" for n in self.letters}
        for disk in self.disks.values():
            self.enter_context(machine.small_disk(disk, 96))
        self.clock = machine.clock_library(folder)
        self.centre, self.database = tomli_w.dumps(CENTRE), database
        if database is not None:
            self._environment["PYTHONPATH"] += os.pathsep + str(database.driver)
            self.centre = tomli_w.dumps(CENTRE | {"mlflow": {"tracking_uri": database.uri}})
        self.plan: Plan
        self.undisturbed: list[dict[str, Any]] = []
        self.run_id = self.first_run = ""
        self.endings: list[str] = []
        self._marks: dict[str, int] = {}

    def open(self) -> None:
        """Start the study centre and the sites, and wait until all are connected."""
        self.start_superlink(self.centre)
        kits = [self._provide(letter) for letter in self.letters]
        write_site_lists(kits)
        for kit in kits:
            self.control.register(kit.public_key, kit.name)
            self.start_site(kit)
        self.settle()

    def kit(self, letter: str) -> SiteKit:
        """Of the site a, b or c."""
        return self.kits[NAMES[letter]]

    def start_site(self, kit: SiteKit) -> Any:
        before = dict(self._environment)
        if self.clock is not None:
            skew = self.folder / f"skew-{kit.name}"
            machine.set_skew(skew, 0.0)
            self._environment |= {"LD_PRELOAD": str(self.clock), "SKEW_FILE": str(skew)}
        try:
            return super().start_site(kit)
        finally:
            self._environment = before

    def begin(self, name: str, **sections: Any) -> None:
        """Approve a study of that name at every site, and submit it."""
        table = small_table(rounds=2, quorum=len(self.letters), deadline_seconds=240.0)
        table["study"]["name"] = name
        table["arms"] = [{"sampler": "uniform"}]
        table["measurement"]["accelerations"] = [8.0]
        table["evaluation"] |= {"attacks": ["lmmse"], "noise": False}
        if self.secure:
            table["aggregation"] = {"secure": True}
        else:
            table["release"] = {"arm": "uniform-s0", "acceleration": 8.0}
        self.plan = parse_plan(tomli_w.dumps(table | sections))
        path = self.folder / "plan.toml"
        path.write_text(self.plan.text)
        with redirect_stdout(io.StringIO()):
            for letter in self.letters:
                approve(str(path), config=self.kit(letter).settings, by="the benchmark")
        self._marks = {n: len(self.log(NAMES[n])) for n in self.letters}
        self.endings = []
        self.run_id = self.first_run = self.submit(self.plan.text)

    def at(self, shot: Shot) -> None:
        """Wait for the moment of a shot."""
        task = f"{TASK}: {KINDS[shot.phase]}"
        mark = self._marks[shot.site]
        wait_for(lambda: task in self.log(NAMES[shot.site])[mark:], PATIENCE, self.told)
        time.sleep(shot.delay)

    def end(self, heal: Heal | None, hold: float) -> RunState:
        """Bring the study to its end as an operator does: put right what is to be put right, and
        resume what failed, or begin it again where it failed before its first checkpoint."""
        until = time.monotonic() + hold
        for _ in range(ATTEMPTS):
            while time.monotonic() < until and not self.control.state(self.run_id).finished:
                time.sleep(0.5)
            if hold and heal is not None:
                heal()
                until, heal = 0.0, None
            state = self.finish(self.run_id, PATIENCE)
            if state.outcome == "completed":
                return state
            self.endings.append(state.details)
            self.settle()
            self.resume()
        raise AssertionError(f"not completed after {ATTEMPTS} attempts: {self.endings}")

    def resume(self) -> None:
        """`infomri run --resume`, or the study again where it left nothing to resume."""
        kept = list((self.runs / "checkpoints").glob("*.safetensors"))
        if kept and not any(AGAIN in ending for ending in self.endings):
            self.run_id = self.submit(self.plan.text, resume=self.runs.name)
        else:
            self.run_id = self.first_run = self.submit(self.plan.text)

    def settle(self) -> None:
        """Wait until every part of every site runs, and all sites are connected."""

        def whole() -> bool:
            parts = all(len(self.parts(n)) >= 3 for n in self.letters)
            nodes = [node.status for node in self.control.nodes()]
            return parts and nodes.count("online") >= len(self.letters)

        wait_for(whole, PATIENCE, self.told)

    @property
    def runs(self) -> Path:
        """What the study centre keeps of the study."""
        return self.folder / "runs" / f"{self.plan.study.name}-{self.first_run}"

    def of(self, letter: str, module: str) -> list[int]:
        """A site's processes of a module, the oldest first."""
        return sorted(self.pids(module, str(self.kit(letter).folder)))

    def parts(self, letter: str) -> list[int]:
        """Vault, executor and SuperNode of a site."""
        modules = ("vault.process", "network.executor", "network.supernode")
        return [pid for m in modules for pid in self.of(letter, f"fl_client.{m}")[:1]]

    def of_centre(self, word: str) -> list[int]:
        """What the SuperLink started whose command line holds ``word``."""
        return [
            pid for pid in machine.descendants(self.superlink.pid) if word in machine.running(pid)
        ]

    def restart_superlink(self) -> None:
        """Stop it, if it runs, and start it on the same port and database."""
        self.control.close()
        self.superlink.stop()
        self.start_superlink(self.centre, self.superlink.options.port)

    def restart_site(self, letter: str) -> None:
        """What an init system does when a client has ended."""
        client = self.clients[NAMES[letter]]
        if client.poll() is None:
            client.terminate()
        client.wait(60)
        wait_for(lambda: self.of(letter, "fl_client") == [], 30, self.told)
        self.start_site(self.kit(letter))

    def seen(self, pattern: str, letters: str = "") -> str:
        """The first line that an operator read in this study and that matches, without its time:
        in a site's log, the study's events, or how a run ended; '' where none does."""
        lines = [
            _TIME.sub("", line)
            for letter in letters or self.letters
            for line in self.log(NAMES[letter])[self._marks[letter] :].splitlines()
        ]
        events, _ = read_events(self.runs / "events.jsonl")
        lines += [str(event["sentence"]) for event in events] + self.endings
        return next((line for line in lines if re.search(pattern, line)), "")

    def read(self, pattern: str) -> str:
        """:meth:`seen`, once there is such a line, which a site may write after the study's end;
        '' where none comes."""
        with suppress(TimeoutError, AssertionError):
            wait_for(lambda: bool(self.seen(pattern)), LINE_SECONDS, self.told)
        return self.seen(pattern)

    @cached_property
    def reference(self) -> dict[str, np.ndarray]:
        """The final weights of a study without any fault; its name makes no difference, but under
        secure aggregation. Computed before the first disturbed study starts, in a process of its
        own, since the relays are threads of this one."""
        names = tuple(NAMES[n] for n in self.letters)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            made = pool.submit(undisturbed, self.plan.text, names, self.folder / "reference")
            return made.result()

    def distance(self) -> float:
        """The largest difference of a final weight from the undisturbed one."""
        if self.secure:
            return 0.0
        saved = checkpoint.latest(self.runs / "checkpoints", self.plan.digest)
        assert saved is not None and saved.round == self.plan.training.rounds
        pairs = ((flat, saved.arms[name]) for name, flat in self.reference.items())
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    def rows(self) -> list[dict[str, Any]]:
        """What ``results.json`` says of each arm."""
        found: list[dict[str, Any]] = json.loads((self.runs / "results.json").read_text())["rows"]
        return found

    def check_ledgers(self) -> int:
        """Lines of all ledgers, whose chains are verified; none is of a plan never approved."""
        n = 0
        for letter in self.letters:
            approved = (self.kit(letter).folder / "approved.txt").read_text()
            entries = read_ledger(self.kit(letter).folder / "state" / "ledger.jsonl")
            assert all(entry.run in approved for entry in entries)
            n += len(entries)
        return n

    def _provide(self, letter: str) -> SiteKit:
        self.address = self.relays[letter].start(self.superlink.address)
        uri, name = site_uri(NAMES[letter]), NAMES[letter]
        kit = self.provide(name, uri, device="cpu", threads=1)
        self.address = ""
        patients = sorted(set(open_dataset(uri).table.patients.astype(str)))
        (kit.folder / "consent.txt").write_text("\n".join(patients))
        text = kit.settings.read_text().replace('approvals = "any"', 'approvals = "listed"')
        limits = '[policy]\nconsent = "consent.txt"\nmax_released_fraction = 0.9\n'
        kit.settings.write_text(text.replace("[policy]\n", limits))
        return kit


def undisturbed(plan: str, names: tuple[str, ...], folder: Path) -> dict[str, np.ndarray]:
    """The final weights of a plan at sites of these names, in this process."""
    torch.set_num_threads(1)
    other = study(parse_plan(plan), local_sites(folder, names), folder)
    state = other._restore()
    while state.round < other.plan.training.rounds:
        train_round(other._setting, state)
    return state.arms
