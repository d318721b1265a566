"""Laws of the gate: what is not asked for, not whole or of too few patients never leaves."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.gate.cohort import count_patients
from fl_client.gate.context import Context
from fl_client.gate.gate import Gate
from fl_client.jobs import ledger_entry_of
from fl_client.jobs.registry import check_of
from fl_client.memory.high_water_mark import HighWaterMark
from fl_client.memory.ledger import Ledger
from fl_client.memory.release_memory import ReleaseMemory
from fl_client.settings import Policy
from infomri_core.messages import (
    DatasetCard,
    ErrorReply,
    EvaluateReply,
    SiteReply,
    SiteTask,
    TrainReply,
    reply_from,
    wire,
)
from infomri_core.summaries.groups import SLOTS
from infomri_core.system.errors import Refused
from tests.support.vault_fakes import (
    PLAN,
    SIZES,
    FakeSite,
    enrol_task,
    evaluate_task,
    make_table,
    train_task,
)

SITE = FakeSite(make_table())
ARM = next(iter(SIZES))


@contextlib.contextmanager
def gate(folder: Path, **policy: Any) -> Iterator[tuple[Gate, Ledger]]:
    with contextlib.closing(Ledger.open(folder / "ledger.jsonl")) as ledger:
        memory = ReleaseMemory(ledger, HighWaterMark(ledger, Path(folder) / "released.json"), 0.1)
        yield Gate(Policy(**policy), ledger, memory, check_of), ledger


def context(
    task: SiteTask,
    n_patients: int = 10,
    positive: tuple[int, int] = (5, 10),
    site: FakeSite = SITE,
) -> Context:
    counts = (n_patients, positive, positive)
    scored = site.table.take(site.scored(PLAN))
    groups = {"scored": scored, "slots": site.groups(PLAN)}
    return Context("north", PLAN, task, ledger_entry_of(task), *counts, **groups)


def through(
    folder: Path, reply: SiteReply, task: SiteTask, where: Context | None = None, **policy: Any
) -> Any:
    with gate(folder, **policy) as (the_gate, _):
        return reply_from(wire.decode(the_gate.leave(reply, where or context(task))))


def held_back(folder: Path, reply: Any, task: SiteTask, code: str = "gate") -> None:
    with gate(folder) as (the_gate, ledger):
        with pytest.raises(Refused) as caught:
            the_gate.leave(reply, context(task))
        assert caught.value.code == code
        assert not ledger.entries()


@pytest.mark.parametrize(
    ("reply", "task"),
    [
        (SITE.card(), enrol_task()),
        (SITE.trained(train_task()), train_task()),
        (SITE.evaluated(evaluate_task()), evaluate_task()),
    ],
    ids=["enrol", "train", "evaluate"],
)
def test_under_the_minimum_cohort_nothing_leaves(
    tmp_path: Path, reply: SiteReply, task: SiteTask
) -> None:
    with gate(tmp_path, min_cohort=11) as (the_gate, ledger):
        with pytest.raises(Refused, match="too few patients"):
            the_gate.leave(reply, context(task))
        assert not ledger.entries()
    assert through(tmp_path, reply, task, min_cohort=5) is not None


def test_what_leaves_stands_in_the_ledger_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = train_task()
    with gate(tmp_path) as (the_gate, ledger):
        data = the_gate.leave(SITE.trained(task), context(task))
        (entry,) = ledger.entries()
        assert (entry.sha256, entry.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (entry.run, entry.job, entry.round) == (PLAN.digest, "train", 1)
        assert entry.kind == "trained"
        (tmp_path / "ledger.jsonl").unlink()
        with pytest.raises(Refused, match="changed from outside"):
            the_gate.leave(SITE.trained(task), context(task))


def test_an_error_leaves_even_when_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    ledger_entry = ledger_entry_of(enrol_task())
    with gate(tmp_path) as (the_gate, ledger):
        data = the_gate.refuse(ErrorReply("data", "s" * 10_000), ledger_entry)
        reply = reply_from(wire.decode(data))
        assert isinstance(reply, ErrorReply)
        assert len(reply.sentence) <= 400
        assert [(e.kind, e.note) for e in ledger.entries()] == [("error", "data")]
        (tmp_path / "ledger.jsonl").unlink()
        data = the_gate.refuse(ErrorReply("data", "why"), ledger_entry)
        assert reply_from(wire.decode(data)) == ErrorReply(
            "ledger", "the site's ledger was changed from outside; "
            "nothing leaves until it is recovered"
        )  # fmt: skip


@given(
    patients=st.integers(5, 500),
    positive=st.integers(0, 500),
    step=st.integers(1, 20),
    cohort=st.integers(1, 5),
)
def test_counts_leave_rounded_down_and_rare_findings_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, patients: int, positive: int, step: int, cohort: int
) -> None:
    having = min(positive, patients)
    card = dataclasses.replace(
        SITE.card(), n_patients=patients, n_slices=3 * patients, n_positive=(positive, 0)
    )
    where = context(enrol_task(), patients, (having, 0))
    folder = tmp_path_factory.mktemp("gate")
    left = through(folder, card, enrol_task(), where, min_cohort=cohort, round_to=step)
    assert isinstance(left, DatasetCard)
    for coarse, exact in ((left.n_patients, patients), (left.n_slices, 3 * patients)):
        assert coarse % step == 0
        assert 0 <= exact - coarse < step
    assert left.n_positive[0] == (positive - positive % step if having >= cohort else 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "south"},
        {"labels": ("fracture", "secret")},
        {"shape": (8, 9)},
        {"n_positive": (1,)},
        {"versions": {"host": "x" * 100}},
    ],
)
def test_a_card_of_something_else_is_held_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    held_back(tmp_path, dataclasses.replace(SITE.card(), **changes), enrol_task())


def bad_weights(value: Any) -> dict[str, Any]:
    return {"arms": {**train_task().arms, ARM: value}}


@pytest.mark.parametrize(
    "changes",
    [
        bad_weights(np.full(SIZES[ARM], np.nan, np.float32)),
        bad_weights(np.zeros(SIZES[ARM] + 1, np.float32)),
        bad_weights(np.zeros(SIZES[ARM], np.float64)),
        {"arms": {ARM: np.zeros(SIZES[ARM], np.float32)}},
        {"arms": {**train_task().arms, "images": np.zeros(3, np.float32)}},
        {"dropped": (ARM,)},
        {"losses": {ARM: {"ce": float("nan")}}},
        {"losses": {ARM: {"first_pixel": 0.5}}},
        {"losses": {"patient-7": {"ce": 0.5}}},
    ],
    ids=str,
)
def test_weights_that_were_not_asked_for_are_held_back(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    held_back(tmp_path, dataclasses.replace(SITE.trained(train_task()), **changes), train_task())


def test_a_dropped_arm_leaves_its_name_only(tmp_path: Path) -> None:
    reply = SITE.trained(train_task())
    arms = {name: flat for name, flat in reply.arms.items() if name != ARM}
    losses = {name: terms for name, terms in reply.losses.items() if name != ARM}
    dropped = dataclasses.replace(reply, arms=arms, losses=losses, dropped=(ARM,))
    left = through(tmp_path, dropped, train_task())
    assert isinstance(left, TrainReply)
    assert left.dropped == (ARM,)
    assert set(left.arms) == set(SIZES) - {ARM}


def test_scores_before_the_last_round_are_held_back(tmp_path: Path) -> None:
    held_back(tmp_path, SITE.evaluated(evaluate_task()), evaluate_task(round=1))


def test_scores_of_another_form_are_held_back(tmp_path: Path) -> None:
    reply, task = SITE.evaluated(evaluate_task()), evaluate_task()
    cell, scores = next(iter(reply.scores.items()))
    fine = np.zeros((SLOTS, 2, 2, 4096), np.int64)
    moved = np.roll(scores.task.counts, 1, axis=0)
    quality = scores.quality["mean"]
    for changed in (
        dataclasses.replace(scores, task=dataclasses.replace(scores.task, counts=fine)),
        dataclasses.replace(
            scores, task=dataclasses.replace(scores.task, correct=np.full(SLOTS, 10**6))
        ),
        dataclasses.replace(scores, task=dataclasses.replace(scores.task, counts=moved)),
        dataclasses.replace(
            scores, quality={"mean": dataclasses.replace(quality, weight=quality.weight[::-1])}
        ),
        dataclasses.replace(scores, quality={"patient-7": quality}),
        dataclasses.replace(
            scores, quality={"mean": dataclasses.replace(quality, sums=quality.sums * np.nan)}
        ),
    ):
        held_back(
            tmp_path, dataclasses.replace(reply, scores={**reply.scores, cell: changed}), task
        )
    extra = {**reply.scores, (cell[0], 99.0): scores}
    held_back(tmp_path, dataclasses.replace(reply, scores=extra), task)
    held_back(tmp_path, dataclasses.replace(reply, n_patients=3), task)


def test_a_reply_of_another_job_and_an_unknown_type_are_held_back(tmp_path: Path) -> None:
    held_back(tmp_path, SITE.trained(train_task()), evaluate_task())
    held_back(tmp_path, SITE.card(), train_task())
    held_back(tmp_path, np.zeros((4, 8, 8)), train_task())


def test_quality_leaves_rounded_and_rare_labels_leave_an_empty_histogram(tmp_path: Path) -> None:
    task, site = evaluate_task(), FakeSite(make_table(n_positive=1))
    left = through(tmp_path, site.evaluated(task), task, context(task, site=site))
    assert isinstance(left, EvaluateReply)
    for scores in left.scores.values():
        quality = scores.quality["mean"]
        assert quality.sums[0] / quality.weight[0] == pytest.approx([17.5, 0.0123, 0.568, 0.457])
        assert scores.task.counts[:, 0].sum() == 0
        assert scores.task.counts[:, 1].sum() == 20
        assert np.isnan(scores.task.auroc()[0])
        assert np.isfinite(scores.task.auroc()[1])


def test_groups_are_counted_by_the_gate_whatever_the_reply_says(tmp_path: Path) -> None:
    task = evaluate_task()
    whole = context(task)
    for slots in (np.arange(20) % 10, np.arange(20) // 10):  # One patient a group; patients cut.
        site = FakeSite(SITE.table)
        site.groups = lambda plan, slots=slots: slots  # type: ignore[method-assign, misc]
        reply = site.evaluated(task)
        with pytest.raises(Refused) as caught:
            through(tmp_path, reply, task, dataclasses.replace(whole, slots=slots))
        assert caught.value.code == "gate"
    with pytest.raises(Refused):
        through(tmp_path, SITE.evaluated(task), task, dataclasses.replace(whole, slots=None))


def test_a_finding_that_is_rare_in_a_group_joins_groups_and_leaves_no_smaller_count(
    tmp_path: Path,
) -> None:
    task, site = evaluate_task(), FakeSite(make_table(n_val=40, n_positive=6))
    left = through(tmp_path, site.evaluated(task), task, context(task, 40, site=site))
    assert isinstance(left, EvaluateReply)
    for scores in left.scores.values():
        positive = scores.task.counts[:, 0, 1].sum(-1) / 2  # Two slices a patient.
        assert positive.sum() == 6
        assert positive[positive > 0].min() >= 2
        totals = scores.task.total[scores.task.total > 0]
        assert len(totals) == np.count_nonzero(positive), "a joined group is one group throughout"
        assert np.count_nonzero(scores.quality["mean"].weight) == 8


def test_patients_are_counted_once_however_many_slices_they_have() -> None:
    assert count_patients(PLAN, make_table(7, 3, 2)) == (10, (4, 10), (4, 10))
    assert count_patients(PLAN, make_table(7, 3, 2).take(np.arange(0))) == (0, (0, 0), (0, 0))
