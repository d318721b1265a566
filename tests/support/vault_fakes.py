"""A vault's jobs over a site that computes nothing, and tasks that fit its plan."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from fl_client.jobs import Jobs
from fl_client.memory.ledger import CHARGE, Entry, Ledger
from fl_client.settings import Data, Policy, SiteSettings, SuperLink, Vault
from fl_client.settings import Site as SiteName
from infomri_core.arms.build import arm_sizes
from infomri_core.data.base import SliceTable
from infomri_core.messages import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    ReleasedPatient,
    ReleaseReply,
    ReleaseTask,
    Scores,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    reply_from,
    wire,
)
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.score_noise.mechanism import form_of
from infomri_core.site.evaluate import attacked_rows
from infomri_core.summaries.groups import partition
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram
from infomri_core.system.errors import Cancelled

SHAPE = (8, 8)
LABELS = ("fracture", "oedema")
FAR = 4e9
WAITS: list[float] = []
"""Until when the vaults of :func:`make_jobs` would have waited, newest last; they do not."""


def make_plan(**changes: Any) -> Plan:
    """A tiny plan; ``changes`` replace whole sections."""
    table: dict[str, Any] = {
        "study": {"name": "tiny"},
        "task": {"labels": list(LABELS), "shape": list(SHAPE)},
        "measurement": {"ratio_range": [0.1, 0.5], "accelerations": [4.0]},
        "model": {"width": 4},
        "training": {"rounds": 2, "local_steps": 1},
        "evaluation": {"attacks": ["lmmse"], "noise": False},
        "arms": [{"sampler": "infomri"}, {"sampler": "uniform"}],
    }
    return parse_plan(tomli_w.dumps(table | changes))


PLAN = make_plan()
SIZES = arm_sizes(PLAN)
RELEASE_PLAN = make_plan(release={"arm": "uniform-s0", "acceleration": 4.0})


def make_table(n_train: int = 10, n_val: int = 10, n_positive: int = 5) -> SliceTable:
    """Two slices a patient: the first label holds for both slices of ``n_positive`` patients of
    each split, the second for the second slice of every patient."""
    counts = {"train": n_train, "val": n_val}
    rows = [(f"{s}-{p}", p < n_positive, s) for s, n in counts.items() for p in range(n)] * 2
    positive = np.array([row[1] for row in rows], dtype=np.uint8)
    second = (np.arange(len(rows)) >= len(rows) // 2).astype(np.uint8)
    return SliceTable(
        patients=np.array([row[0] for row in rows]),
        labels=np.stack((positive, second), axis=1),
        label_names=LABELS,
        exclusive=False,
        split=np.array([row[2] for row in rows]),
        hospital=np.full(len(rows), "north"),
        position=np.linspace(0, 1, len(rows)),
    )


class FakeSite:
    """Answers as a site does, and counts how often it was asked."""

    def __init__(self, table: SliceTable) -> None:
        self.table = table
        self.calls = 0
        self.result: Callable[[SiteTask], SiteReply] | None = None
        self.steps = 0
        self.min_cohort = 5

    def scored(self, plan: Plan) -> np.ndarray:
        return np.flatnonzero(self.table.split == "val")

    def groups(self, plan: Plan) -> np.ndarray:
        return partition(self.table.patients[self.scored(plan)], "the fake key", self.min_cohort)

    def run(self, plan: Plan, task: SiteTask, cancelled: Callable[[], bool]) -> SiteReply:
        self.calls += 1
        for _ in range(self.steps):
            if cancelled():
                raise Cancelled
        if self.result is not None:
            return self.result(task)
        if isinstance(task, EnrolTask):
            return self.card()
        if isinstance(task, TrainTask):
            return self.trained(task)
        if isinstance(task, EvaluateTask) and plan.evaluation.noise:
            return self.bounded(plan, task)
        return self.evaluated(task)

    def release(
        self,
        plan: Plan,
        task: ReleaseTask,
        patients: Sequence[str],
        cancelled: Callable[[], bool],
    ) -> ReleaseReply:
        self.calls += 1
        if self.result is not None:
            reply = self.result(task)
            assert isinstance(reply, ReleaseReply)
            return reply
        mask = np.zeros(SHAPE, bool)
        mask[4, 4] = True
        values = np.ones((2, 1), np.complex64)
        released = {f"alias-{p}": ReleasedPatient(mask, values) for p in patients}
        return ReleaseReply(task.arm, task.acceleration, SHAPE, released)

    def noise(self, *context: str) -> SecretStream:
        return SecretStream.derived("the secret of the fake site", *context)

    def names(self, plan: Plan, patients: Sequence[str]) -> dict[str, str]:
        return {f"alias-{p}": f"id-{p}" for p in patients}

    key_id = "the fake key"

    def card(self) -> DatasetCard:
        positive = self.table.labels.sum(0)
        return DatasetCard(
            "north",
            len(np.unique(self.table.patients)),
            len(self.table),
            (int(positive[0]), int(positive[1])),
            SHAPE,
            LABELS,
            {"infomri": "0.1.0"},
        )

    def trained(self, task: TrainTask) -> TrainReply:
        arms = {name: flat + np.float32(self.calls) for name, flat in task.arms.items()}
        losses = {name: {"ce": 0.5, "entropy": 1.0} for name in task.arms}
        return TrainReply(int((self.table.split == "train").sum()), arms, losses)

    def evaluated(self, task: EvaluateTask) -> EvaluateReply:
        val = self.table.take(self.scored(PLAN))
        generator = np.random.default_rng(self.calls)
        slots = self.groups(PLAN)
        logits = generator.normal(size=val.labels.shape)
        histogram = ScoreHistogram.from_scores(logits, val.labels, slots)
        per_image = np.tile([17.4561, 0.0123456, 0.56789, 0.45678], (len(val), 1))
        attacked = attacked_rows(val.patients, PLAN.evaluation.attack_slices)
        quality = {
            name: ImageQuality.from_images(per_image[attacked], slots[attacked])
            for name in task.attacks
        }
        scores = {(arm, 4.0): Scores(histogram, quality) for arm in task.arms}
        return EvaluateReply(len(np.unique(val.patients)), scores)

    def bounded(self, plan: Plan, task: EvaluateTask) -> EvaluateReply:
        val, form = self.table.take(self.scored(plan)), form_of(plan, task.arms, task.attacks)
        rules = (task.reference, task.expected, plan.evaluation.clip_db)
        sums = BoundedScores(form, val.patients, *rules)
        for cell in form.cells:
            logits = np.random.default_rng(1).normal(size=val.labels.shape)
            quality = {
                name: np.full((len(val), 4), 17.0) for name in (*form.attacks, *form.floors)
            }
            evidence = np.hstack((logits, val.labels))
            sums.add(cell, evidence, np.arange(len(val)), quality)
        return EvaluateReply(len(np.unique(val.patients)), {}, sums=sums.sums())


def make_settings(folder: Path, **policy: Any) -> SiteSettings:
    return SiteSettings(
        SiteName("north"),
        SuperLink("localhost:9092", insecure=True),
        Data("phantom:"),
        Vault(state=folder / "state"),
        Policy(**{"approvals": "any", **policy}),
    )


def make_jobs(
    folder: Path,
    site: FakeSite | None = None,
    stopping: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
    **policy: Any,
) -> tuple[Jobs, FakeSite, Ledger]:
    """Jobs over a fake site, with the ledger opened in ``folder``; close it at the end."""
    settings = make_settings(folder, **policy)
    site = site or FakeSite(make_table())
    ledger = Ledger.open(settings.vault.state / "ledger.jsonl")
    wait = WAITS.append
    return Jobs(settings, site, site.table, ledger, stopping, clock, wait=wait), site, ledger


def enrol_task(plan: Plan = PLAN) -> EnrolTask:
    return EnrolTask(plan.text, FAR)


def train_task(plan: Plan = PLAN, fill: float = 0.0, **changes: Any) -> TrainTask:
    arms = {name: np.full(size, fill, np.float32) for name, size in SIZES.items()}
    task = TrainTask(plan.text, 1, FAR, np.ones((2, *SHAPE), np.float32), arms)
    return dataclasses.replace(task, **changes)


def evaluate_task(plan: Plan = PLAN, fill: float = 0.0, **changes: Any) -> EvaluateTask:
    arms = {name: np.full(size, fill, np.float32) for name, size in SIZES.items()}
    task = EvaluateTask(plan.text, 2, FAR, arms, {"mean": {"image": np.zeros(SHAPE, np.float32)}})
    return dataclasses.replace(task, **changes)


def release_task(plan: Plan | None = None, **changes: Any) -> ReleaseTask:
    plan = plan or RELEASE_PLAN
    weights = np.zeros(SIZES["uniform-s0"], np.float32)
    task = ReleaseTask(plan.text, 2, FAR, "uniform-s0", 4.0, weights)
    return dataclasses.replace(task, **changes)


def encode(task: SiteTask) -> bytes:
    return wire.encode(task.to_message())


def ask(jobs: Jobs, task: SiteTask) -> SiteReply:
    return reply_from(wire.decode(jobs.handle(encode(task))))


@contextlib.contextmanager
def jobs_in(folder: Path, *args: Any, **options: Any) -> Iterator[tuple[Jobs, FakeSite, Ledger]]:
    """:func:`make_jobs`, with the ledger closed at the end."""
    jobs, site, ledger = make_jobs(folder, *args, **options)
    with contextlib.closing(ledger):
        yield jobs, site, ledger


def departures(ledger: Ledger) -> list[Entry]:
    """What left, without what was charged for it."""
    return [entry for entry in ledger.entries() if entry.kind != CHARGE]


def charges(ledger: Ledger) -> list[Entry]:
    """What was charged."""
    return [entry for entry in ledger.entries() if entry.kind == CHARGE]


def refusal(jobs: Jobs, task: SiteTask) -> str:
    """The code of the error that answers ``task``."""
    reply = ask(jobs, task)
    assert isinstance(reply, ErrorReply)
    return reply.code
