"""A whole study over sites of this process: what the rounds, the audit and the results promise."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fl_server.run import checkpoint
from fl_server.study.failure import StudyFailed
from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.data import open_dataset
from infomri_core.messages import ErrorReply, SiteReply, SiteTask, TrainReply, TrainTask
from infomri_core.system.errors import InputError
from tests.support.small import (
    AUDIT_URI,
    SilentTracker,
    local_sites,
    settings,
    small_plan,
    study,
)


class Wrapped:
    """Sites whose replies a test may change or lose."""

    def __init__(self, sites: Any, change: Any) -> None:
        self._sites = sites
        self._change = change

    def online(self) -> list[str]:
        return self._sites.online()

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        for node, reply in self._sites.ask(task, to):
            yield from self._change(task, node, reply)


def final_weights(directory: Path) -> dict[str, np.ndarray]:
    saved = checkpoint.latest(directory / "run" / "checkpoints")
    assert saved is not None
    assert saved.round == 3
    return dict(saved.arms)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_a_study_leaves_rows_for_every_arm_and_acceleration(tmp_path: Path) -> None:
    plan, tracker = small_plan(), SilentTracker()
    rows = study(plan, local_sites(tmp_path), tmp_path, tracker).run()
    assert [(r.arm, r.acceleration) for r in rows] == [
        (arm.name, a) for arm in plan.arms for a in (4.0, 8.0)
    ]
    for row in rows:
        assert set(row.psnr) == {"lmmse", "cnn"}
        assert row.psnr_worst == max(row.psnr.values())
        assert row.psnr_prior is not None and row.psnr_answer is not None
        assert row.psnr_gain == row.psnr_worst - row.psnr_prior
        assert 0 < row.n_audit <= 32 and row.rounds == 3
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    wanted = {
        *("sampler", "beta", "seed", "acceleration", "auroc", "auroc_low", "auroc_high", "psnr"),
        *("psnr_worst", "psnr_prior", "psnr_gain", "psnr_diagnosis", "redundancy"),
        *("n_train", "n_audit", "rounds"),
    }
    assert all(wanted <= set(row) for row in content["rows"])
    assert [number for number, _ in tracker.rounds] == [1, 2, 3]


def test_a_resumed_study_ends_with_the_very_same_weights(tmp_path: Path) -> None:
    undisturbed, broken = tmp_path / "a", tmp_path / "b"
    study(small_plan(), local_sites(undisturbed), undisturbed).train()

    def die_in_round_two(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(task, TrainTask) and task.round == 2 and node == "b":
            raise KeyboardInterrupt
        yield node, reply

    with pytest.raises(KeyboardInterrupt):
        study(small_plan(), Wrapped(local_sites(broken), die_in_round_two), broken).train()
    study(small_plan(), local_sites(broken), broken).train()
    assert_same(final_weights(undisturbed), final_weights(broken))


def test_the_order_of_replies_does_not_matter(tmp_path: Path) -> None:
    class Reversed(Wrapped):
        def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
            yield from reversed(list(self._sites.ask(task, to)))

    study(small_plan(), local_sites(tmp_path / "a"), tmp_path / "a").train()
    study(small_plan(), Reversed(local_sites(tmp_path / "b"), None), tmp_path / "b").train()
    assert_same(final_weights(tmp_path / "a"), final_weights(tmp_path / "b"))


def test_a_site_that_drops_out_costs_its_share_of_that_round_only(tmp_path: Path) -> None:
    def lose_b_in_round_two(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(task, TrainTask) and task.round == 2 and node == "b":
            return
        yield node, reply

    sites = Wrapped(local_sites(tmp_path), lose_b_in_round_two)
    rounds = study(small_plan(), sites, tmp_path).train().history["rounds"]
    assert [r["sites"] for r in rounds] == [["a", "b"], ["a"], ["a", "b"]]


def test_a_missed_quorum_fails_the_study_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    def lose_all_after_round_one(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(task, TrainTask) and task.round > 1:
            return
        yield node, reply

    sites = Wrapped(local_sites(tmp_path), lose_all_after_round_one)
    with pytest.raises(StudyFailed, match="round 2"):
        study(small_plan(quorum=2), sites, tmp_path).train()
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None and saved.round == 1


def diverging(*nodes: str) -> Callable[[SiteTask, str, SiteReply], Any]:
    """Makes the uniform arm diverge at ``nodes`` in round 2."""

    def diverge(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(reply, TrainReply) and task.round == 2 and node in nodes:
            name = "uniform-s0"
            arms = {k: v for k, v in reply.arms.items() if k != name}
            losses = {k: v for k, v in reply.losses.items() if k != name}
            reply = replace(reply, arms=arms, losses=losses, dropped=(name,))
        yield node, reply

    return diverge


def test_an_arm_that_diverges_everywhere_is_dropped_and_the_others_go_on(tmp_path: Path) -> None:
    sites = Wrapped(local_sites(tmp_path), diverging("a", "b"))
    rows = study(small_plan(), sites, tmp_path).run()
    assert {row.sampler for row in rows} == {"infomri"}
    meta = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]
    assert meta["dropped_arms"] == {"uniform-s0": "diverged at a, b"}


def test_one_site_cannot_end_an_arm_for_all(tmp_path: Path) -> None:
    sites = Wrapped(local_sites(tmp_path), diverging("a"))
    state = study(small_plan(), sites, tmp_path).train()
    assert not state.dropped and {name.partition("-")[0] for name in state.arms} == {
        *("infomri", "uniform")
    }
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "arm uniform-s0 diverged at a" in events


@pytest.mark.parametrize(
    "odd",
    [
        {"dropped": ("an-arm-of-no-plan",)},
        {"losses": {"uniform-s0": {"entropy": 1.0}}},
        {"losses": {"uniform-s0": {"ce": float("nan"), "entropy": 1.0}}},
        {"n_samples": 2**63},
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_costs_that_site_only(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    def odd_at_b(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(reply, TrainReply) and node == "b":
            zeros = {name: np.zeros_like(flat) for name, flat in reply.arms.items()}
            reply = replace(reply, arms=zeros, **odd)
        yield node, reply

    sites = Wrapped(local_sites(tmp_path), odd_at_b)
    state = study(small_plan(rounds=1), sites, tmp_path).train()
    assert not state.dropped and state.history["rounds"][0]["sites"] == ["a"]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_reply_with_weights_that_are_not_finite_is_not_used(
    tmp_path: Path, poison: float
) -> None:
    def poisoned(task: SiteTask, node: str, reply: SiteReply) -> Any:
        if isinstance(reply, TrainReply) and node == "b":
            arms = {name: np.full_like(flat, poison) for name, flat in reply.arms.items()}
            reply = replace(reply, arms=arms)
        yield node, reply

    study(small_plan(), Wrapped(local_sites(tmp_path / "p"), poisoned), tmp_path / "p").train()
    study(small_plan(), local_sites(tmp_path / "a", ("a",)), tmp_path / "a").train()
    assert_same(final_weights(tmp_path / "p"), final_weights(tmp_path / "a"))


def test_a_refusal_is_reported_and_not_counted(tmp_path: Path) -> None:
    def refuse(task: SiteTask, node: str, reply: SiteReply) -> Any:
        yield node, (ErrorReply("not-approved", "no") if node == "b" else reply)

    study(small_plan(), Wrapped(local_sites(tmp_path), refuse), tmp_path).train()
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "not-approved" in events


def test_an_audit_set_of_another_shape_is_refused(tmp_path: Path) -> None:
    plan = small_plan()
    other = open_dataset("phantom:?patients=12&slices=1&size=48&seed=9&hospital=centre")
    from fl_server.study.study import Study

    with pytest.raises(InputError, match="48"):
        Study(
            plan,
            settings(tmp_path),
            local_sites(tmp_path),
            other,
            tmp_path / "run",
            SilentTracker(),  # type: ignore[arg-type]
            torch.device("cpu"),
        )


def test_arms_of_one_seed_start_from_the_same_network() -> None:
    plan = small_plan()
    images = open_dataset(AUDIT_URI).images(range(16))
    state = initial_state(plan, public_moments(images).variance)
    learned, fixed = (state.arms[arm.name] for arm in plan.arms)
    np.testing.assert_array_equal(learned[-len(fixed) :], fixed)
