"""A completed study is told again; damaged results are made again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from fl_server.run.events import read_events
from fl_server.study.completed import completed_rows, mark_completed
from fl_server.study.open import run_study
from infomri_core.results.frontier import write_results
from tests.support.rows import row_of
from tests.support.small import settings, small_plan

PLAN = small_plan()


class Forbidden:
    """Sites that must not be asked."""

    def online(self) -> list[str]:
        raise AssertionError("the sites were looked for")

    def ask(self, task: Any, to: Sequence[str]) -> Iterator[Any]:
        raise AssertionError("a site was asked")

    def ask_each(self, tasks: Mapping[str, Any]) -> Iterator[Any]:
        raise AssertionError("a site was asked")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a study that has completed."""
    folder = tmp_path / "small-7"
    saved = Checkpoint(PLAN.text, PLAN.training.rounds, {}, np.zeros((2, 32, 32), np.float32))
    checkpoint.save(folder / "checkpoints", saved)
    arm = PLAN.arms[0]
    row = row_of(arm.name, arm.sampler, arm.beta, arm.seed, 4.0, arm.suppression, auroc=0.75)
    write_results(folder / "results.json", [row], {})
    mark_completed(folder, PLAN)
    return folder


def test_a_resumed_completed_study_asks_nobody_and_shows_its_rows_again(run: Path) -> None:
    before = (run / "results.json").read_bytes()
    rows = run_study(None, settings(run.parent), Forbidden(), run_id="8", resume="small-7")
    assert [row.utility.value for row in rows] == [0.75]
    assert (run / "results.json").read_bytes() == before
    events = read_events(run / "events.jsonl")[0]
    assert [event["event"] for event in events] == ["resume", "results", "finished"]
    assert events[1]["rows"][0]["auroc"] == 0.75


@pytest.mark.parametrize("harm", ["no mark", "results changed", "another plan"])
def test_what_is_not_whole_is_not_taken_as_completed(run: Path, harm: str) -> None:
    plan = PLAN
    if harm == "no mark":
        (run / "completed.json").unlink()
    elif harm == "results changed":
        content = json.loads((run / "results.json").read_text())
        (run / "results.json").write_text(json.dumps(content | {"more": 1}))
    else:
        plan = small_plan(rounds=2)
    assert completed_rows(run, plan) is None
    assert len(completed_rows(run, PLAN) or []) == (1 if harm == "another plan" else 0)
