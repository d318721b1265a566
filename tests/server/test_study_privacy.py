"""Epsilon at the study centre: a maximum, in every row, with what it does not cover."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from fl_server.study.epsilon import report_epsilons, study_epsilon
from infomri_core.messages import SiteReply, SiteTask, TrainReply
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.server.test_study import Wrapped
from tests.support.small import SilentTracker, local_sites, small_table, study


def private_plan() -> Plan:
    table = small_table(rounds=2, local_steps=1)
    table["privacy"] = {"noise_multiplier": 1.0, "rate": 0.25, "lot": 4}
    return parse_plan(tomli_w.dumps(table))


def test_epsilon_is_the_largest_that_any_site_ever_told() -> None:
    history: dict[str, Any] = {"rounds": []}
    assert study_epsilon(history) is None
    report_epsilons(history, {"a": 1.0, "b": 3.0})
    report_epsilons(history, {"a": 2.0, "b": 0.5, "c": None})
    assert history["epsilons"] == {"a": 2.0, "b": 3.0}
    assert study_epsilon(history) == 3.0


def test_every_row_has_the_largest_epsilon_and_the_meta_what_it_leaves_out(tmp_path: Path) -> None:
    def dear(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(reply, TrainReply) and node == "b" and task.round == 1:  # type: ignore[union-attr]
            reply = replace(reply, epsilon=77.0)
        yield node, reply

    tracker = SilentTracker()
    sites = Wrapped(local_sites(tmp_path), dear)
    rows = study(private_plan(), sites, tmp_path, tracker).run()
    assert rows and all(row.epsilon == 77.0 for row in rows)
    meta = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]
    assert meta["privacy"]["epsilon"] == 77.0 and meta["privacy"]["unit"] == "patient"
    assert any("k-space" in what for what in meta["privacy"]["outside"])
    assert meta["rounds"][0]["losses"] == {}


def test_an_update_without_epsilon_is_not_used(tmp_path: Path) -> None:
    def silent(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(reply, TrainReply) and node == "b":
            reply = replace(reply, epsilon=None)
        yield node, reply

    state = study(private_plan(), Wrapped(local_sites(tmp_path), silent), tmp_path).train()
    assert [entry["sites"] for entry in state.history["rounds"]] == [["a"], ["a"]]
