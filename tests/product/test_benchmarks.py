"""Programs that make the figures of docs/results.md run, in small."""

import tomllib
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import audit_cost, rounds
from benchmarks.bench import aggregation, step
from benchmarks.bench.__main__ import markdown
from benchmarks.round_changes import CHANGES
from fl_server.demo.plan import DemoOptions, design
from infomri_core.data import open_dataset
from infomri_core.site.site import Site


def test_the_cost_of_an_audit_is_told_beside_that_of_its_training() -> None:
    small = Namespace(size=16, patients=10, steps=100, width=4, threads=1, attacks=["lmmse"])
    found = audit_cost.measure(small)
    assert 0 < found["peak before, GiB"] <= found["peak, GiB"]
    share = (found["fitting, s"] + found["scoring, s"]) / found["training, s"]
    assert found["audit / training"] == share > 0


def test_a_step_is_held_against_the_bare_network() -> None:
    found = step.measure(step.StudyContext(16, 4, 4, goal=1.1), n_times=1)
    assert found["step / bare"] == found["step, ms"] / found["bare, ms"] > 0
    assert found["DP-SGD / step"] == found["DP-SGD, ms"] / found["step, ms"] > 0


def test_aggregation_is_held_against_copying() -> None:
    found = aggregation.table(1, n_floats=1000)
    assert all(row["mean / copies"] == row["mean, s"] / row["copies, s"] for row in found.values())
    text = markdown(found)
    assert text.count("\n") == len(found) + 1 and "mean / copies" in text


@pytest.mark.parametrize("name", ["fedavg", "cut3-global", "cut3-mean", "cut3-exp", "central"])
def test_ways_of_training_take_as_many_samples_and_are_scored_with_their_average(
    name: str, tmp_path: Path
) -> None:
    uri = "phantom:?patients=20&slices=1&size=32&prevalence=0.4&seed={0}&hospital=h{0}"
    first, second, audit = (open_dataset(uri.format(seed)) for seed in range(3))
    table = tomllib.loads(design("phantom:", DemoOptions(width=4)).plan)
    table["task"]["shape"] = [32, 32]
    change = CHANGES[name]
    plan = rounds.make_plan(change, 0, 1, 3, 2, table)
    assert plan.total_steps == (6 if change.central else 3)
    sites = [Site(data, f"{i}", tmp_path / f"{i}") for i, data in enumerate((first, second))]
    found = rounds.train(plan, sites[: 2 - change.central], sites, tmp_path, audit, change)
    assert found["ce"] > 0 and {"8x low", "128x, averaged"} <= set(found)
    assert all(0 <= found[f"{at}x, averaged"] <= 1 for at in (8, 32, 128))
