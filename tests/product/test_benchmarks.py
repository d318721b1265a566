"""Programs that make the figures of docs/results.md run, in small."""

from argparse import Namespace

from benchmarks import audit_cost


def test_the_cost_of_an_audit_is_told_beside_that_of_its_training() -> None:
    small = Namespace(size=16, patients=10, steps=100, width=4, threads=1, attacks=["lmmse"])
    found = audit_cost.measure(small)
    assert 0 < found["peak before, GiB"] <= found["peak, GiB"]
    share = (found["fitting, s"] + found["scoring, s"]) / found["training, s"]
    assert found["audit / training"] == share > 0
