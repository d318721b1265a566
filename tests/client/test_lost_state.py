"""Optimizer state that was lost is said, and the plan decides; what never was is not lost."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from fl_server.inference.trained_arm import read_model
from fl_server.sites.local import LocalSites
from fl_server.study.failure import StudyFailed
from fl_server.study.reply_check import check_update
from infomri_core.data import open_dataset
from infomri_core.messages import TrainReply, reply_from
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.report.report import render
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError, Refused
from infomri_core.training.optimizer_store import OptimizerStore
from tests.support.small import (
    SilentTracker,
    local_sites,
    site_uri,
    small_plan,
    small_table,
    study,
)

STATE = {"step": np.arange(3.0), "mean": np.ones((2, 2), np.float32)}
ARM = "uniform-s0"


def one_arm(**training: object) -> Plan:
    table = small_table(rounds=2, **training)
    table["arms"] = [{"sampler": "uniform"}]
    table["evaluation"] |= {"attacks": ["lmmse"]}
    return parse_plan(tomli_w.dumps(table))


def harm_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def harm_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [harm_cut, harm_flip])
def test_a_damaged_state_is_refused_by_its_checksum(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    plan, store = small_plan(), OptimizerStore(tmp_path)
    store.save(plan.digest, ARM, 1, STATE)
    loaded = store.load(plan.digest, ARM, 1)
    assert loaded is not None and all(np.array_equal(loaded[k], STATE[k]) for k in STATE)
    assert store.lost(plan, [ARM], 1) == ()
    harm(next(tmp_path.rglob("round-00001.safetensors")))
    assert store.load(plan.digest, ARM, 1) is None
    with pytest.raises(Refused, match=f"after round 1 of {ARM} is lost") as refused:
        store.lost(plan, [ARM], 1)
    assert refused.value.code == "state-lost"
    assert store.lost(small_plan(lost_state="continue"), [ARM], 1) == ()


def test_missing_state_is_lost_only_where_an_update_of_that_round_has_left(tmp_path: Path) -> None:
    plan = small_plan(lost_state="continue")
    fresh = OptimizerStore(tmp_path)
    assert fresh.lost(plan, [ARM], 0) == fresh.lost(plan, [ARM], 2) == ()
    witness = OptimizerStore(tmp_path, lambda digest, number: (digest, number) == (plan.digest, 2))
    assert witness.lost(plan, [ARM], 2) == (ARM,)
    assert witness.lost(plan, [ARM], 1) == ()


def test_an_arm_that_diverged_starts_afresh_and_has_lost_nothing(tmp_path: Path) -> None:
    plan, store = small_plan(), OptimizerStore(tmp_path, lambda digest, number: True)
    store.save(plan.digest, ARM, 1, {})
    assert store.load(plan.digest, ARM, 1) is None
    assert store.lost(plan, [ARM], 1) == ()


class Harmed(LocalSites):
    """Sites of which one finds its state cut before the second round."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__([Site(open_dataset(site_uri(n)), n, folder / n) for n in ("a", "b")])

    def ask_each(self, tasks):  # type: ignore[no-untyped-def]
        for path in (self.folder / "a").rglob("round-00001.safetensors"):
            harm_cut(path)
        yield from super().ask_each(tasks)


def test_by_default_a_site_that_lost_its_state_refuses_the_round(tmp_path: Path) -> None:
    with pytest.raises(StudyFailed, match="round 2"):
        study(one_arm(quorum=2), Harmed(tmp_path), tmp_path).run()
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "a refused: state-lost: the optimizer state after round 1" in events


def test_where_the_plan_goes_on_results_report_and_tracker_say_so(tmp_path: Path) -> None:
    marked: list[tuple[str, str]] = []

    class Marking(SilentTracker):
        def lost_state(self, arm: str, why: str) -> None:
            marked.append((arm, why))

    tracker, plan = Marking(), one_arm(quorum=2, lost_state="continue")
    rows = study(plan, Harmed(tmp_path), tmp_path, tracker).run()
    meta = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]
    assert meta["lost_state"] == [{"round": 2, "site": "a", "arms": [ARM]}]
    assert marked == [(ARM, "a had lost its optimizer state before round 2")]
    assert "continued with a fresh optimizer" in render(rows, meta, {})
    undisturbed = tmp_path / "undisturbed"
    study(plan, local_sites(undisturbed), undisturbed).train()
    ends = [read_model(folder / "run").arms[ARM] for folder in (tmp_path, undisturbed)]
    assert not np.array_equal(*ends)


def test_the_reply_carries_it_and_a_centre_that_wants_none_does_not_use_it() -> None:
    plan = small_plan()
    names = [arm.name for arm in plan.arms]
    arms = {name: np.zeros(2, np.float32) for name in names}
    reply = TrainReply(4, arms, lost_state=(ARM,))
    assert reply_from(reply.to_message()) == reply
    with pytest.raises(InputError, match="lost_state"):
        check_update(plan, reply, names)
    check_update(small_plan(lost_state="continue"), reply, names)
