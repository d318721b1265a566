"""Programs that make the figures of docs/results.md run, in small."""

from argparse import Namespace

from benchmarks import audit_cost
from benchmarks.bench import aggregation, step
from benchmarks.bench.__main__ import markdown


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
