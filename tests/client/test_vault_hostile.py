"""Laws of the vault before a hostile message: always an answer, never a word too much."""

import dataclasses
import errno
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_client.jobs import Jobs
from fl_client.memory.ledger import Ledger
from infomri_core.messages import ErrorReply, SiteTask, reply_from, wire
from infomri_core.system.errors import InputError
from tests.support.vault_fakes import (
    PLAN,
    SHAPE,
    SIZES,
    FakeSite,
    ask,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    refusal,
    release_task,
    train_task,
)

SECRET = "patient Jane Doe, born 1970, at /data/jane.h5"
ARM = next(iter(SIZES))
TASKS = [enrol_task(), train_task(), evaluate_task()]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Jobs, FakeSite, Ledger]]:
    with tempfile.TemporaryDirectory() as folder, jobs_in(Path(folder)) as everything:
        yield everything


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError, InputError, MemoryError])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_the_text_of_an_exception_never_crosses(
    tmp_path: Path, task: SiteTask, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: SiteTask) -> Any:
        raise error(*[SECRET] * (4 if error is InputError else 1))

    with jobs_in(tmp_path) as (jobs, site, ledger):
        site.result = fail
        data = jobs.handle(encode(task))
        reply = reply_from(wire.decode(data))
        assert isinstance(reply, ErrorReply)
        assert reply.code == "failed"
        assert not any(word in data for word in (b"patient", b"Jane", b"1970", b"/data", b"Err"))
        assert [e.kind for e in ledger.entries()] == ["charge", "error"]
        assert SECRET in caplog.text
        site.result = None
        assert not isinstance(ask(jobs, task), ErrorReply)


def test_a_full_disk_is_said_to_be_one(tmp_path: Path) -> None:
    def fail(_: SiteTask) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", SECRET)

    with jobs_in(tmp_path) as (jobs, site, _):
        site.result = fail
        reply = ask(jobs, TASKS[0])
    assert reply == ErrorReply("failed", "the disk of this site is full")


@given(data=st.binary(max_size=200))
def test_any_bytes_get_an_error_and_run_nothing(
    shared: tuple[Jobs, FakeSite, Ledger], data: bytes
) -> None:
    jobs, site, _ = shared
    reply = reply_from(wire.decode(jobs.handle(data)))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "bad-message"
    assert site.calls == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["plan", "round", "deadline", "arms", "../../etc", "x"])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(["enrol", "train", "evaluate", "release", "card", ""]) | JSON,
    header=st.dictionaries(NAMES, JSON) | JSON,
    arrays=st.dictionaries(
        st.sampled_from(["variance", f"arm/{ARM}", "arm/", "attack/lmmse/x", "attack", "y"]),
        st.sampled_from([np.zeros(0), np.full(3, np.nan, np.float32), np.zeros((2, 8, 8))]),
    ),
    with_plan=st.booleans(),
)
def test_well_formed_nonsense_gets_an_error_and_runs_nothing(
    shared: tuple[Jobs, FakeSite, Ledger],
    kind: Any,
    header: Any,
    arrays: dict[str, np.ndarray],
    with_plan: bool,
) -> None:
    jobs, site, _ = shared
    if with_plan and isinstance(header, dict) and kind != "enrol":
        header = {**header, "plan": PLAN.text, "round": 1, "deadline": 4e9}
    head = json.dumps({"kind": kind, "header": header})
    message = wire.save(arrays, metadata={"message": head})
    assert isinstance(reply_from(wire.decode(jobs.handle(message))), ErrorReply)
    assert site.calls == 0


@given(data=st.data())
def test_a_damaged_task_gets_an_error(
    shared: tuple[Jobs, FakeSite, Ledger], data: st.DataObject
) -> None:
    jobs, site, _ = shared
    whole = encode(train_task())
    (head,) = struct.unpack("<Q", whole[:8])
    damage = data.draw(st.sampled_from(["cut", "head"]))
    if damage == "cut":
        broken = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, 7))
        byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
        broken = whole[:at] + bytes([byte]) + whole[at + 1 :]
    assert head < len(whole)
    assert isinstance(reply_from(wire.decode(jobs.handle(broken))), ErrorReply)
    assert site.calls == 0


NAN = np.full(SIZES[ARM], np.nan, np.float32)


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (train_task(round=0), "bad-task"),
        (train_task(round=3), "bad-task"),
        (train_task(round=-(10**30)), "bad-task"),
        (train_task(arms={}), "bad-task"),
        (train_task(arms={"../../key": np.zeros(3, np.float32)}), "bad-task"),
        (train_task(arms={ARM: NAN}), "bad-task"),
        (train_task(arms={ARM: NAN[1:] * 0}), "bad-task"),
        (train_task(arms={ARM: np.zeros(SIZES[ARM])}), "bad-task"),
        (train_task(variance=np.ones((2, 8, 9), np.float32)), "bad-task"),
        (train_task(variance=np.ones((2, *SHAPE), np.int64)), "bad-task"),
        (train_task(variance=np.full((2, *SHAPE), np.inf, np.float32)), "bad-task"),
        (train_task(variance=np.full((2, *SHAPE), -1, np.float32)), "bad-task"),
        (train_task(deadline=float("inf")), "bad-task"),
        (train_task(deadline=0.0), "deadline"),
        (evaluate_task(round=1), "bad-task"),
        (evaluate_task(attacks={"unet": {"x": np.zeros(3)}}), "bad-task"),
        (evaluate_task(attacks={"lmmse": {"x": np.full(3, np.nan)}}), "bad-task"),
        (release_task(PLAN), "bad-task"),
        (release_task(arm="infomri-s0"), "bad-task"),
        (release_task(arm="../../site.key"), "bad-task"),
        (release_task(acceleration=2.0), "bad-task"),
        (release_task(acceleration=float("nan")), "bad-message"),
        (release_task(acceleration=-4.0), "bad-message"),
        (release_task(round=1), "bad-task"),
        (release_task(weights=np.full(3, 1, np.float32)), "bad-task"),
        (release_task(weights=np.full(SIZES["uniform-s0"], np.nan, np.float32)), "bad-task"),
        (release_task(), "cohort"),
        (dataclasses.replace(enrol_task(), plan_text="[study]\nname = 3"), "bad-plan"),
        (dataclasses.replace(enrol_task(), plan_text="a = " + "[" * 100_000), "bad-plan"),
        (dataclasses.replace(enrol_task(), plan_text=PLAN.text + "beta = -1.0"), "bad-plan"),
    ],
)
def test_a_task_the_plan_cannot_have_is_refused(tmp_path: Path, task: SiteTask, code: str) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        assert refusal(jobs, task) == code
        assert site.calls == 0
