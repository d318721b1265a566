"""Aggregation by the plan's choice: what one poisoned site of five can and cannot do."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl_server.aggregation.robust import Median, MultiKrum, TrimmedMean
from fl_server.aggregation.strategy import aggregate, step
from fl_server.run import checkpoint
from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.arms.build import buffers_of, build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import SiteReply, SiteTask, TrainReply, TrainTask
from infomri_core.plan.plan import Aggregation, Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError
from infomri_core.training.proximal import Proximal
from tests.server.test_study import Wrapped, assert_same, final_weights
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_table, study

ROBUST = ("median", "trimmed-mean", "multi-krum")
N = 2000


def honest_and_start(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights of four honest sites (4, N) whose updates agree but for noise, and the start (N)."""
    generator = np.random.default_rng(seed)
    start, update = generator.normal(size=(2, N))
    noise = 0.1 * generator.normal(size=(4, N))
    return (start + update + noise).astype(np.float32), start.astype(np.float32)


def large_random(honest: np.ndarray, start: np.ndarray) -> np.ndarray:
    return (100 * np.random.default_rng(1).normal(size=N)).astype(np.float32)


def sign_flipped(honest: np.ndarray, start: np.ndarray) -> np.ndarray:
    return start - (honest.mean(0) - start)


def scaled(honest: np.ndarray, start: np.ndarray) -> np.ndarray:
    return start + 50 * (honest.mean(0) - start)


def error(strategy: str, poison: Any) -> float:
    """Distance of the aggregate from the honest mean, over the length of the honest update."""
    honest, start = honest_and_start()
    made = aggregate(Aggregation(strategy), N)
    for flat in [honest[0], poison(honest, start), *honest[1:]]:
        made.add(flat, 30)
    wanted = honest.mean(0)
    return float(np.linalg.norm(made.value() - wanted) / np.linalg.norm(wanted - start))


@pytest.mark.parametrize("poison", [large_random, sign_flipped, scaled])
@pytest.mark.parametrize("strategy", ROBUST)
def test_one_poisoned_site_of_five_moves_no_robust_aggregate(strategy: str, poison: Any) -> None:
    assert error(strategy, poison) < 0.12


@pytest.mark.parametrize("poison", [large_random, sign_flipped, scaled])
@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedadam"])
def test_one_poisoned_site_of_five_moves_the_mean(strategy: str, poison: Any) -> None:
    assert error(strategy, poison) > 0.35


vectors = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=5, max_size=8
)


@given(vectors, st.sampled_from(ROBUST), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_a_robust_aggregate_has_the_same_bits_in_any_order(
    rows: list[list[float]], strategy: str, random: Any
) -> None:
    values = []
    for _ in range(2):
        made = aggregate(Aggregation(strategy), 3)
        for row in rows:
            made.add(np.array(row, np.float32), 1)
        values.append(made.value().tobytes())
        random.shuffle(rows)
    assert values[0] == values[1]


@given(vectors)
@settings(deadline=None, max_examples=60)
def test_median_and_trimmed_mean_are_those_of_each_coordinate(rows: list[list[float]]) -> None:
    table = np.array(rows, np.float32)
    median, trimmed = Median(3), TrimmedMean(3, 0.2)
    for flat in table:
        median.add(flat, 7)
        trimmed.add(flat, 7)
    np.testing.assert_allclose(median.value(), np.median(table.astype(float), 0), atol=1e-4)
    inner = np.sort(table.astype(float), 0)[1:-1]
    np.testing.assert_allclose(trimmed.value(), inner.mean(0), atol=1e-4)


def test_multi_krum_leaves_the_farthest_out() -> None:
    krum = MultiKrum(2, byzantine=1)
    for x in (0.0, 1.0, 2.0, 3.0, 90.0):
        krum.add(np.array([x, -x], np.float32), 5)
    np.testing.assert_array_equal(krum.value(), np.array([1.5, -1.5], np.float32))


def test_multi_krum_refuses_to_judge_with_too_few() -> None:
    krum = MultiKrum(1, byzantine=1)
    for x in range(4):
        krum.add(np.array([x], np.float32), 1)
    with pytest.raises(InputError, match="at least 5"):
        krum.value()


@pytest.mark.parametrize("strategy", ROBUST)
def test_robust_aggregates_refuse_what_is_no_weight(strategy: str) -> None:
    made = aggregate(Aggregation(strategy), 2)
    for bad in ([1.0, np.nan], [1.0], [1.0, 3e38]):
        with pytest.raises(InputError):
            made.add(np.array(bad, np.float32), 1)
    with pytest.raises(ValueError, match="no reply"):
        made.value()


def test_fedadam_takes_the_steps_of_its_equations() -> None:
    rules = Aggregation("fedadam", server_learning_rate=0.1, beta_1=0.5, beta_2=0.75, tau=0.01)
    x, m, v, state = np.array([1.0, -2.0]), 0.0, 0.0, {}
    weights = x.astype(np.float32)
    for target in ([1.5, -2.0], [0.5, 3.0]):
        gap = np.array(target) - x
        m, v = 0.5 * m + 0.5 * gap, 0.75 * v + 0.25 * gap**2
        x = x + 0.1 * m / (np.sqrt(v) + 0.01)
        weights, state = step(rules, weights, np.array(target, np.float32), state)
    np.testing.assert_allclose(weights, x, rtol=1e-5)
    assert weights.dtype == np.float32


def test_fedadam_leaves_running_statistics_to_the_mean() -> None:
    table = small_table()
    table["model"] = {"width": 4, "norm": "batch"}
    made = parse_plan(tomli_w.dumps(table))
    buffers = buffers_of(made, made.arms[0])
    model = build_model(made, made.arms[0])
    learned = sum(p.numel() for p in model.parameters())
    assert 0 < buffers.sum() == len(buffers) - learned
    weights = flatten(model)
    target = weights + np.float32(0.5)
    rules = Aggregation("fedadam", server_learning_rate=0.01)
    moved, _ = step(rules, weights, target, {}, buffers)
    np.testing.assert_array_equal(moved[buffers], target[buffers])
    assert (np.abs(moved - target)[~buffers] > 0.1).all()


def test_the_proximal_gradient_is_the_derivative_of_its_term() -> None:
    layer = nn.Linear(3, 2).double()
    start = [p.detach().clone() for p in layer.parameters()]
    proximal = Proximal(layer.parameters(), 0.3)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(torch.randn(p.shape, dtype=p.dtype, generator=torch.manual_seed(0)))
    proximal.add_gradient()
    made = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    term = sum(((p - w) ** 2).sum() for p, w in zip(layer.parameters(), start)) * 0.15
    assert isinstance(term, torch.Tensor)
    term.backward()
    for ours, p in zip(made, layer.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad)


def plan(strategy: str, **changes: Any) -> Plan:
    table = small_table(quorum=changes.pop("quorum", 1))
    table["aggregation"] = {"strategy": strategy, **changes}
    return parse_plan(tomli_w.dumps(table))


def test_a_strong_proximal_term_keeps_a_site_near_the_start(tmp_path: Path) -> None:
    moved, images = {}, open_dataset(AUDIT_URI).images(range(16))
    for made in (plan("fedavg"), plan("fedprox", proximal=1e3)):
        state = initial_state(made, public_moments(images).variance)
        task = TrainTask(made.text, 1, 0.0, state.variance, state.arms)
        site = Site(open_dataset(site_uri("a")), "a", tmp_path / made.aggregation.strategy)
        reply = site.train(made, task, lambda: False)
        moved[made.aggregation.strategy] = [
            float(np.abs(reply.arms[name] - flat).sum()) for name, flat in state.arms.items()
        ]
    assert all(near < far for near, far in zip(moved["fedprox"], moved["fedavg"], strict=True))


def test_fedadam_resumes_with_the_very_same_weights(tmp_path: Path) -> None:
    made, undisturbed, broken = plan("fedadam"), tmp_path / "a", tmp_path / "b"
    study(made, local_sites(undisturbed), undisturbed).train()

    def die_in_round_three(task: SiteTask, node: str, reply: SiteReply) -> Iterator[Any]:
        if isinstance(task, TrainTask) and task.round == 3 and node == "b":
            raise KeyboardInterrupt
        yield node, reply

    with pytest.raises(KeyboardInterrupt):
        study(made, Wrapped(local_sites(broken), die_in_round_three), broken).train()
    study(made, local_sites(broken), broken).train()
    assert_same(final_weights(undisturbed), final_weights(broken))


def test_a_study_by_median_ends_with_finite_weights_whatever_one_site_sends(
    tmp_path: Path,
) -> None:
    def poisoned(task: SiteTask, node: str, reply: SiteReply) -> Iterator[Any]:
        if isinstance(reply, TrainReply) and node == "b":
            reply = replace(reply, arms={k: flat * 0 + 1e5 for k, flat in reply.arms.items()})
        yield node, reply

    sites = Wrapped(local_sites(tmp_path, ("a", "b", "c")), poisoned)
    study(plan("median", quorum=3), sites, tmp_path).train()
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert max(float(np.abs(flat).max()) for flat in saved.arms.values()) < 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": "mode"}, "fedavg | fedprox"),
        ({"strategy": "fedprox", "proximal": -1.0}, "proximal"),
        ({"strategy": "fedadam", "beta_1": 1.0}, "beta_1"),
        ({"strategy": "fedadam", "tau": 0.0}, "tau"),
        ({"strategy": "trimmed-mean", "trim": 0.5}, "trim < 0.5"),
        ({"strategy": "trimmed-mean", "trim": 0.2, "quorum": 4}, "at least 5 for trimmed-mean"),
        ({"strategy": "median", "quorum": 2}, "at least 3 for median"),
        ({"strategy": "multi-krum", "byzantine": 2, "quorum": 6}, "at least 7 for multi-krum"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refusal:
        plan(**changes)
    assert words in str(refusal.value)
