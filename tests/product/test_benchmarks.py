"""Programs that make the figures of docs/results.md run, in small."""

from argparse import Namespace
from pathlib import Path

from benchmarks import audit_cost, rounds
from benchmarks.bench import aggregation, step
from benchmarks.bench.__main__ import markdown
from infomri_core.data import open_dataset
from infomri_core.site.site import Site

CUTS = {"long": (1, 4), "short": (4, 1)}


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


def test_rounds_are_cut_from_as_many_steps_and_scored_with_their_average(tmp_path: Path) -> None:
    uri = "phantom:?patients=20&slices=5&size=32&prevalence=0.4&seed={0}&hospital=h{0}"
    first, second, audit = (open_dataset(uri.format(seed)) for seed in range(3))
    long, short = (rounds.make_plan(audit, rounds.CHANGES[n], 0, *cut) for n, cut in CUTS.items())
    assert long.total_steps == short.total_steps == 4
    sites = [Site(data, f"{i}", tmp_path / f"{i}") for i, data in enumerate((first, second))]
    found = rounds.train(short, sites, audit, equal=False)
    assert found["ce"] > 0 and {"16x low", "64x, averaged"} <= set(found)
    assert all(0 <= found[f"{at}, averaged"] <= 1 for at in ("16x", "32x", "64x"))
