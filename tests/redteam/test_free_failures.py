"""A hostile centre asks by failure: what fails is counted, and its kind and time say nothing."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

from fl_client.jobs import Jobs
from fl_client.jobs.failure import FIRST_ANSWER_SECONDS, answer_time
from fl_client.memory.ledger import Ledger
from infomri_core.arms.build import arm_sizes
from infomri_core.data import open_dataset
from infomri_core.messages import ErrorReply, EvaluateReply, EvaluateTask, reply_from, wire
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.system.errors import Cancelled, InputError, Refused
from tests.support import small
from tests.support.vault_fakes import (
    FAR,
    WAITS,
    ask,
    encode,
    evaluate_task,
    jobs_in,
    make_settings,
    refusal,
    train_task,
)


def test_a_scoring_that_fails_is_a_question_answered(tmp_path: Path) -> None:
    """Twenty-two weights whose logits overflow, under a limit of five inputs."""

    def overflow(_: Any) -> Any:
        raise ValueError("logits that are not finite have no histogram")

    with jobs_in(tmp_path, max_inputs=5) as (jobs, site, _):
        site.result = overflow
        codes = [refusal(jobs, evaluate_task(fill=fill)) for fill in range(22)]
        assert codes == ["failed"] * 5 + ["asked-often"] * 17
        assert site.calls == 5
    with jobs_in(tmp_path, max_inputs=5) as (jobs, site, _):
        assert refusal(jobs, evaluate_task(fill=30)) == "asked-often"
        assert not isinstance(ask(jobs, evaluate_task(fill=1)), ErrorReply)


@contextlib.contextmanager
def hospital(folder: Path) -> Iterator[Jobs]:
    """A vault that really computes."""
    torch.set_num_threads(1)
    data = open_dataset(small.site_uri("a"))
    settings = make_settings(folder, min_cohort=2)
    site = Site(data, "north", folder / "state", secret="ab" * 32)
    with contextlib.closing(Ledger.open(folder / "state" / "ledger.jsonl")) as ledger:
        yield Jobs(settings, site, data.table, ledger, wait=WAITS.append)


def test_networks_and_attacks_that_overflow_are_scored(tmp_path: Path) -> None:
    """Weights for which logits, images and what a reader makes of them are NaN."""
    table = small.small_table(rounds=1)
    table["evaluation"]["noise"] = False
    plan = parse_plan(tomli_w.dumps(table))
    huge = {n: np.full(s, 3e38, np.float32) for n, s in arm_sizes(plan).items()}
    attacks = {"mean": {"image": np.full((32, 32), 3e38, np.float32)}}
    with hospital(tmp_path) as jobs:
        reply = ask(jobs, EvaluateTask(plan.text, 1, FAR, huge, attacks))
    assert isinstance(reply, EvaluateReply), reply
    assert reply.failed == {}
    for scores in reply.scores.values():
        assert scores.task.counts.sum() > 0
        assert all(np.isfinite(quality.sums).all() for quality in scores.quality.values())


FAILURES = [
    ValueError("the tear of patient 7"),
    MemoryError(),
    KeyError("patient 7"),
    InputError("patient 7", "a", "b", "c"),
    OSError("truncated"),
    Refused("gate", "weights of patient 7 that are not finite"),
    Refused("patient 7", "has a tear"),
    Cancelled(),
]


@pytest.mark.parametrize("task", [train_task(), evaluate_task()], ids=["train", "evaluate"])
def test_all_that_fails_after_reading_is_one_answer_at_one_time(tmp_path: Path, task: Any) -> None:
    answers, points = set(), set()
    for number, failure in enumerate(FAILURES):
        ticks = itertools.count(1000.0, step=0.1 * (1 + number))

        def fail(_: Any, failure: Exception = failure) -> Any:
            raise failure

        with jobs_in(tmp_path / str(number), clock=lambda ticks=ticks: next(ticks)) as there:
            jobs, site, ledger = there
            site.result, before = fail, len(WAITS)
            answers.add(jobs.handle(encode(task)))
            (charged,) = [e for e in ledger.entries() if e.kind == "charge"]
            assert charged.charge["inputs"] == 1
            (until,) = WAITS[before:]
            points.add(round(until - 1000.0, -1))
    assert len(answers) == 1 and points == {FIRST_ANSWER_SECONDS}
    reply = reply_from(wire.decode(answers.pop()))
    assert isinstance(reply, ErrorReply) and reply.code == "failed"
    assert "patient" not in reply.sentence


def test_what_is_refused_before_reading_is_refused_at_once(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        before = len(WAITS)
        assert refusal(jobs, evaluate_task(round=1)) == "bad-task"
        assert (len(WAITS), site.calls) == (before, 0)
        assert [e.kind for e in ledger.entries()] == ["error"]


def test_the_schedule_has_few_points_and_never_more_than_doubles_the_time() -> None:
    day = 24 * 3600.0
    seconds = np.linspace(0, day, 10_001)
    points = [answer_time(0.0, float(s), day) for s in seconds]
    assert len(set(points)) <= 13
    for spent, point in zip(seconds, points, strict=True):
        assert spent <= point <= max(FIRST_ANSWER_SECONDS, 2 * spent)
    assert answer_time(0.0, 5.0, 10.0) == 10.0
