"""Vaults with real jobs and keys behind an in-process grid, and a training over them. What the
sites train is drawn from their name and the round."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import tomli_w
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fl_client.jobs import Jobs
from fl_client.memory.ledger import Ledger
from fl_client.settings import Data, Policy, Secure, SiteSettings, SuperLink, Vault
from fl_client.settings import Site as SiteName
from fl_server.run.events import Progress
from fl_server.sites.grid import GridSites
from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import Roster
from fl_server.study.round import train_round
from infomri_core.arms.build import arm_sizes
from infomri_core.messages import DatasetCard, TrainReply, TrainTask, wire
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.randomness.seeds import numpy_generator
from infomri_core.system.errors import Refused
from tests.support.inprocess import Clock, InProcessGrid
from tests.support.small import SilentTracker, settings
from tests.support.vault_fakes import FakeSite, departures, make_plan, make_table

NAMES = ("a", "b", "c", "d")


def secure_plan(secure: bool = True, **sections: Any) -> Plan:
    """Two rounds over at least three sites; the same without masks."""
    training = {"rounds": 2, "quorum": 3, "deadline_seconds": 120.0}
    return make_plan(**{"training": training, "aggregation": {"secure": secure}, **sections})


class DrawnSite(FakeSite):
    """A fake site whose updates and losses follow from its name and the round."""

    def __init__(self, name: str, n_train: int) -> None:
        super().__init__(make_table(n_train=n_train))
        self.name = name
        self.diverges: tuple[str, ...] = ()
        self.tells_losses = True

    def card(self) -> DatasetCard:
        return replace(super().card(), site=self.name)

    def noise(self, *context: str) -> SecretStream:
        return SecretStream.derived(f"the secret of the site {self.name}", *context)

    def trained(self, task: TrainTask) -> TrainReply:
        arms, losses = {}, {}
        for arm, flat in task.arms.items():
            if arm not in self.diverges:
                draws = numpy_generator(self.name, task.round, arm)
                arms[arm] = flat + draws.normal(size=len(flat)).astype(np.float32)
                losses[arm] = {
                    "ce": float(draws.random()),
                    "entropy": float(-900 * draws.random()),
                }
        n_samples = int((self.table.split == "train").sum())
        dropped = tuple(set(task.arms) - set(arms))
        return TrainReply(n_samples, arms, losses if self.tells_losses else {}, dropped)


def write_keys(folder: Path, names: tuple[str, ...] = NAMES) -> None:
    """``NAME.key`` for each site and the list of all, as a federation's kits have them."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = {}
    for name in names:
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (folder / f"{name}.key").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        listed[name] = public.decode()
    (folder / "sites.toml").write_text(tomli_w.dumps({"sites": listed}))


class Federation:
    """Vaults by name, each a node of ``grid``; all bytes in and out stand in ``said``."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        names: tuple[str, ...] = NAMES,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.plan, self.names, self.policy = folder, plan, names, policy or {}
        self.said: list[tuple[str, bytes, bytes]] = []
        self.jobs: dict[str, Jobs] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.drawn = {name: DrawnSite(name, 5 * i) for i, name in enumerate(names, start=2)}
        self.before: Callable[[str, wire.Message], None] = lambda name, message: None
        self.nodes = {name: node for node, name in enumerate(names, start=2)}
        write_keys(folder / "keys", names)
        for name in names:
            self.start(name)
        handles = {node: self._handle(name) for name, node in self.nodes.items()}
        self.grid = InProcessGrid(handles)
        clock = Clock(time.time())
        self.sites: Any = GridSites(self.grid, clock=clock, sleep=clock.sleep)

    def start(self, name: str) -> None:
        """Start or restart a vault: what was in its memory is gone."""
        if name in self.ledgers:
            self.ledgers[name].close()
        state, keys = self.folder / name, self.folder / "keys"
        made = SiteSettings(
            SiteName(name),
            SuperLink("localhost:9092", insecure=True),
            Data("phantom:"),
            Vault(state=state),
            Policy(approvals="any", min_cohort=2, **self.policy),
            Secure(keys / f"{name}.key", keys / "sites.toml"),
        )
        site, ledger = self.drawn[name], Ledger.open(state / "ledger.jsonl")
        self.ledgers[name], self.jobs[name] = (
            ledger,
            Jobs(made, site, site.table, ledger, wait=lambda until: None),
        )

    def _handle(self, name: str) -> Callable[[bytes], bytes]:
        def handle(data: bytes) -> bytes:
            self.before(name, wire.decode(data))
            reply = self.jobs[name].handle(data)
            self.said.append((name, data, reply))
            return reply

        return handle

    def context(self) -> StudyContext:
        """A study's context over these sites."""
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        progress, tracker = Progress(run / "events.jsonl"), SilentTracker()
        roster = Roster(self.sites, self.plan, progress)
        centre, none, device = settings(self.folder), cast(Any, None), torch.device("cpu")
        silent = cast(Any, tracker)
        return StudyContext(
            self.plan, centre, self.sites, roster, none, run, progress, silent, device
        )

    def train(self, rounds: int = 2) -> State:
        """The state after so many rounds."""
        context, state = self.context(), first_state(self.plan)
        for _ in range(rounds):
            train_round(context, state)
        return state

    def events(self) -> str:
        return (self.folder / "run" / "events.jsonl").read_text()

    def kinds(self, name: str) -> list[str]:
        """Kinds of the messages that left a vault."""
        return [entry.kind for entry in departures(self.ledgers[name])]


@contextlib.contextmanager
def federation(folder: Path, plan: Plan, **options: Any) -> Iterator[Federation]:
    """A :class:`Federation` whose ledgers are closed at the end."""
    made = Federation(folder, plan, **options)
    try:
        yield made
    finally:
        for ledger in made.ledgers.values():
            ledger.close()


def first_state(plan: Plan) -> State:
    arms = {name: np.zeros(size, np.float32) for name, size in arm_sizes(plan).items()}
    return State(0, arms, np.ones((2, *plan.task.shape), np.float32))


def absent(site: str, kind: str, round_number: int) -> Callable[[str, wire.Message], None]:
    """Makes a vault fail where it is asked for ``kind`` in that round."""

    def before(name: str, message: wire.Message) -> None:
        asked = (message.kind, message.header.get("round"))
        if name == site and asked == (kind, round_number):
            raise Refused("stopping", "this site is stopping; ask again later")

    return before


def assert_same(a: State, b: State) -> None:
    assert a.arms.keys() == b.arms.keys()
    for name, flat in a.arms.items():
        np.testing.assert_array_equal(flat, b.arms[name])
