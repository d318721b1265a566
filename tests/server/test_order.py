"""The order of arrivals and of mappings is nothing: everything goes by the plan's order."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from fl_server.run import checkpoint
from fl_server.study.evaluation.insiders import _Mean
from fl_server.study.round import mean_losses
from infomri_core.messages import (
    EvaluateReply,
    EvaluateTask,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    wire,
)
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support.small import local_sites, small_table, study

THREE = ("a", "b", "c")
"""Of two terms a floating sum has one order."""
TIMES = {"created", "seconds", "phase_seconds"}


def small(rounds: int) -> Plan:
    table = small_table(rounds=rounds)
    table["evaluation"] |= {"adversaries": ["public", "insider"], "adversary_steps": 2}
    return parse_plan(tomli_w.dumps(table))


class Shuffled:
    """Sites that are asked, and answer, in any order; so are the mappings in their messages."""

    in_process = True

    def __init__(self, sites: Any, seed: int) -> None:
        self._sites, self._random = sites, random.Random(seed)

    def online(self) -> list[str]:
        return self._sites.online()

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        return self.ask_each(dict.fromkeys(to, task))

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        asked = {node: self._mixed(task) for node, task in self._shuffled(tasks).items()}
        arrived = list(self._sites.ask_each(asked))
        self._random.shuffle(arrived)
        return ((node, self._mixed(reply)) for node, reply in arrived)

    def _shuffled(self, mapping: Mapping[Any, Any]) -> dict[Any, Any]:
        items = list(mapping.items())
        self._random.shuffle(items)
        return dict(items)

    def _mixed(self, message: Any) -> Any:
        if isinstance(message, EvaluateTask):
            message = replace(message, attacks=self._shuffled(message.attacks))
        if isinstance(message, TrainTask | EvaluateTask | TrainReply):
            message = replace(message, arms=self._shuffled(message.arms))
        if isinstance(message, TrainReply):
            return replace(message, losses=self._shuffled(message.losses))
        if isinstance(message, EvaluateReply):
            scores = {
                cell: replace(
                    s,
                    quality=self._shuffled(s.quality),
                    legibility=self._shuffled(s.legibility),
                )
                for cell, s in self._shuffled(message.scores).items()
            }
            return replace(message, scores=scores)
        return message


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def results(run: Path) -> bytes:
    content = json.loads((run / "results.json").read_text())
    return json.dumps(without_times(content)).encode()


def test_shuffled_arrivals_mappings_and_checkpoints_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(rounds=2)
    study(plan, local_sites(tmp_path / "a", THREE), tmp_path / "a").run()
    load: Callable[[bytes], dict[str, np.ndarray]] = wire.load

    def any_order(data: bytes) -> dict[str, np.ndarray]:
        items = list(load(data).items())
        random.Random(len(items)).shuffle(items)
        return dict(items)

    monkeypatch.setattr(wire, "load", any_order)
    broken = study(plan, Shuffled(local_sites(tmp_path / "b", THREE), 1), tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr("fl_server.study.study.evaluate_study", lambda context, state: [])
        broken.run()
    study(plan, Shuffled(local_sites(tmp_path / "b", THREE), 2), tmp_path / "b").run()
    assert results(tmp_path / "a" / "run") == results(tmp_path / "b" / "run")
    arms = [checkpoint.latest(tmp_path / n / "run" / "checkpoints").arms for n in "ab"]  # type: ignore[union-attr]
    assert all(arms[0][name].tobytes() == arms[1][name].tobytes() for name in arms[0])


def test_mean_losses_do_not_depend_on_the_order_of_replies() -> None:
    values = np.random.default_rng(0).normal(size=9)
    replies = [TrainReply(n + 1, {}, {"arm": {"ce": v}}) for n, v in enumerate(values)]
    mixed = [replies[i] for i in np.random.default_rng(1).permutation(9)]
    assert mean_losses(replies, ["arm"]) == mean_losses(mixed, ["arm"])
    assert mean_losses(replies, ["arm"])["arm"]["ce"] == pytest.approx(
        np.average(values, weights=range(1, 10))
    )


def test_insiders_networks_are_averaged_in_any_order_to_the_same_bits() -> None:
    generator = np.random.default_rng(2)
    parts = [({"w": generator.normal(size=(3, 2)).astype(np.float32)}, n) for n in range(1, 8)]
    means = []
    for order in (range(7), reversed(range(7)), generator.permutation(7)):
        mean = _Mean()
        for i in order:
            mean.add(*parts[i])
        means.append(mean.value()["w"])
    assert all(m.tobytes() == means[0].tobytes() for m in means)
    wanted = np.average([p["w"] for p, _ in parts], axis=0, weights=range(1, 8))
    np.testing.assert_allclose(means[0], wanted, atol=1e-6)
