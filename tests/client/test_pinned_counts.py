"""Differencing two enrolments gives nothing while the counts are frozen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from fl_client.gate.pinned_counts import pinned_counts
from fl_client.memory.ledger import read_ledger
from infomri_core.messages import DatasetCard
from tests.support.vault_fakes import (
    FakeSite,
    ask,
    enrol_task,
    jobs_in,
    make_plan,
    make_settings,
    make_table,
)


def card(folder: Path, study: str, n_train: int, n_positive: int = 5) -> DatasetCard:
    """Enrol for a study at a site with ``n_train`` training patients, after a restart."""
    plan = make_plan(study={"name": study})
    with jobs_in(folder, FakeSite(make_table(n_train, n_positive=n_positive))) as (jobs, _, _):
        reply = ask(jobs, enrol_task(plan))
    assert isinstance(reply, DatasetCard)
    return reply


def test_whoever_comes_or_goes_two_enrolments_say_the_same(tmp_path: Path) -> None:
    first = card(tmp_path, "one", 14)
    for i, n_train in enumerate((15, 16, 40, 10)):
        assert card(tmp_path, f"other-{i}", n_train, n_positive=n_train // 2) == first


def test_after_the_period_the_counts_are_taken_anew(tmp_path: Path) -> None:
    card(tmp_path, "one", 14)
    entries = read_ledger(make_settings(tmp_path).vault.state / "ledger.jsonl")
    counts, now = next(e.counts for e in entries if e.counts), datetime.now(UTC)
    names = set(counts)
    assert counts["patients"] == 20
    assert pinned_counts(entries, names, 30.0, now + timedelta(days=29)) == counts
    assert pinned_counts(entries, names, 30.0, now + timedelta(days=31)) == {}
    assert pinned_counts(entries, {"patients", "with x"}, 30.0, now) == {"patients": 20}
