"""Updates in fewer bits: what travels is what was rounded, and nothing is lost in the long run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from fl_server.study.reply_check import weights_of
from infomri_core.messages import TrainReply, TrainTask, reply_from, wire
from infomri_core.messages.precision import BLOCK, rounded, unpacked
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.rounded_updates import RoundedUpdates
from infomri_core.system.errors import InputError, Refused
from infomri_core.training.optimizer_store import OptimizerStore
from tests.support.small import local_sites, small_table, study

ARM = "uniform-s0"
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
UPDATES = some.arrays(np.float32, st.integers(1, 2 * BLOCK + 3), elements=FINITE)
COARSE = st.sampled_from(["bfloat16", "int8"])


def plan_with(precision: str, **aggregation: Any) -> Plan:
    table = small_table(rounds=2)
    table["arms"] = [{"sampler": "uniform"}]
    table["evaluation"] |= {"attacks": ["lmmse"]}
    table["aggregation"] = {"precision": precision, **aggregation}
    return parse_plan(tomli_w.dumps(table))


def sent(reply: TrainReply) -> tuple[TrainReply, int]:
    """``reply`` as it arrives, and in how many bytes."""
    data = wire.encode(reply.to_message())
    arrived = reply_from(wire.decode(data))
    assert isinstance(arrived, TrainReply)
    return arrived, len(data)


@given(UPDATES, COARSE)
def test_what_is_rounded_arrives_as_it_is(update: np.ndarray, precision: str) -> None:
    coarse = rounded(update, precision)
    arrived, _ = sent(TrainReply(1, {ARM: coarse}, precision=precision))
    np.testing.assert_array_equal(arrived.arms[ARM], coarse)
    assert arrived.arms[ARM].dtype == np.float32 and arrived.precision == precision


@given(UPDATES)
def test_rounding_errs_by_less_than_is_said(update: np.ndarray) -> None:
    error = np.abs(rounded(update, "bfloat16").astype(np.float64) - update)
    assert (error <= np.abs(update) / 256 + 1e-40).all()
    error = np.abs(rounded(update, "int8").astype(np.float64) - update)
    for start in range(0, len(update), BLOCK):
        largest = np.abs(update[start : start + BLOCK]).max()
        assert error[start : start + BLOCK].max() <= float(largest) / 127 + 1e-37


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.5), ("int8", 0.25)])
def test_it_takes_the_share_of_the_bytes(precision: str, share: float) -> None:
    update = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    _, whole = sent(TrainReply(1, {ARM: update}))
    _, coarse = sent(TrainReply(1, {ARM: rounded(update, precision)}, precision=precision))
    assert coarse <= share * whole * 1.01


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_what_rounding_cuts_off_is_in_the_next_updates(tmp_path: Path, precision: str) -> None:
    plan, updates = plan_with(precision), RoundedUpdates(OptimizerStore(tmp_path))
    rng = np.random.default_rng(1)
    wanted = (rng.standard_normal((8, 3000)) * rng.exponential(size=3000)).astype(np.float32)
    total = np.zeros(3000)
    for number, update in enumerate(wanted, start=1):
        start = rng.standard_normal(3000).astype(np.float32)
        task = TrainTask(plan.text, number, 1e12, np.zeros(0), {ARM: start})
        total += updates.of(plan, task, {ARM: start + update})[ARM]
    last = np.abs(rounded(wanted[-1], precision) - wanted[-1]).max()
    once = sum(np.abs(rounded(u, precision) - u).astype(np.float64) for u in wanted)
    missing = np.abs(total - wanted.sum(axis=0, dtype=np.float64))
    assert missing.max() <= 3 * last + 1e-5 < once.max()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_study_of_rounded_updates_is_one_of_its_weights(tmp_path: Path, precision: str) -> None:
    whole, coarse = (
        study(plan_with(p), local_sites(tmp_path / p), tmp_path / p).train()
        for p in ("float32", precision)
    )
    far = np.abs(whole.arms[ARM] - coarse.arms[ARM]).max()
    assert 0 < far < 0.02 * np.abs(whole.arms[ARM]).max()


def test_an_update_of_another_precision_or_form_is_not_used() -> None:
    plan, begun = plan_with("int8"), {ARM: np.ones(5, np.float32)}
    update = rounded(np.full(5, 0.5, np.float32), "int8")
    found = weights_of(plan, TrainReply(1, {ARM: update}, precision="int8"), begun)
    np.testing.assert_array_equal(found[ARM], np.full(5, 1.5, np.float32))
    with pytest.raises(InputError, match="expected int8, got float32"):
        weights_of(plan, TrainReply(1, {ARM: update}), begun)
    with pytest.raises(InputError, match="shape"):
        weights_of(plan, TrainReply(1, {ARM: update[:3]}, precision="int8"), begun)


def test_malformed_arrays_are_refused() -> None:
    message = TrainReply(1, {ARM: np.ones(5, np.float32)}, precision="int8").to_message()
    for harm in (
        {f"arm/{ARM}/codes": np.zeros(5, np.int64)},
        {f"arm/{ARM}/exponents": np.zeros(2, np.int8)},
    ):
        arrays = {**message.arrays, **harm}
        with pytest.raises(Refused, match="form of its kind"):
            reply_from(wire.Message(message.kind, message.header, arrays))
    with pytest.raises(Refused, match="form of its kind"):
        reply_from(wire.Message("trained", {**message.header, "precision": "int4"}, {}))
    with pytest.raises(KeyError):
        unpacked({}, "int8")


def test_a_lost_rest_is_lost_state(tmp_path: Path) -> None:
    plan, store = plan_with("int8"), OptimizerStore(tmp_path, lambda plan, number: True)
    updates, begun = RoundedUpdates(store), {ARM: np.zeros(5, np.float32)}
    store.save(plan.digest, ARM, 1, {"step": np.ones(1, np.float32)})
    with pytest.raises(Refused, match=ARM):
        updates.lost(plan, begun, 1)
    updates.of(plan, TrainTask(plan.text, 1, 1e12, np.zeros(0), begun), {})
    assert updates.lost(plan, begun, 1) == ()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"aggregation": {"precision": "int4"}}, "precision"),
        ({"aggregation": {"precision": "int8"}, "model": {"norm": "batch"}}, "norm"),
        ({"aggregation": {"precision": "int8", "secure": True}}, "precision"),
    ],
)
def test_what_cannot_be_is_refused_in_the_plan(table: dict[str, Any], key: str) -> None:
    whole = small_table(quorum=3)
    for section, keys in table.items():
        whole[section] = {**whole.get(section, {}), **keys}
    with pytest.raises(InputError, match=key):
        parse_plan(tomli_w.dumps(whole))
