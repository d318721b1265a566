"""The schedules of `make faults`: functions of the seed alone, and shrunk to the smallest."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faults import database
from benchmarks.faults.__main__ import BEGIN, END, stored, table, write_docs
from benchmarks.faults.fault import PLAIN, SECURE, Shot, schedule, smallest
from benchmarks.faults.registry import BY_NAME, FAULTS
from benchmarks.faults.run import Result, run


def test_every_fault_has_a_name_of_its_own_and_phases_of_its_federation() -> None:
    assert len(BY_NAME) == len(FAULTS)
    for fault in FAULTS:
        assert set(fault.phases) <= set(SECURE if fault.secure else PLAIN)


@given(seed=st.integers(0, 99), n=st.integers(1, 150))
def test_a_schedule_follows_from_its_seed_and_a_shorter_one_is_its_beginning(
    seed: int, n: int
) -> None:
    shots = schedule(FAULTS, seed, n)
    assert shots == schedule(FAULTS, seed, 150)[:n]
    assert len({shot.fault for shot in shots}) == min(n, len(FAULTS))


def test_other_seeds_are_other_schedules() -> None:
    assert schedule(FAULTS, 1, 60) != schedule(FAULTS, 2, 60)


@given(numbers=st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True), data=st.data())
def test_a_lost_schedule_is_shrunk_to_the_shots_that_lose_it(
    numbers: list[int], data: st.DataObject
) -> None:
    shots = [Shot(number, "vault killed", "train", "a", 0.0) for number in numbers]
    guilty = set(data.draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3)))

    def lost(some: Sequence[Shot]) -> bool:
        return guilty <= {shot.number for shot in some}

    assert {shot.number for shot in smallest(shots, lost)} == guilty


def test_the_table_names_what_was_lost_and_goes_between_its_marks(tmp_path: Path) -> None:
    shots = schedule(FAULTS, 1, 2)
    good = Result(shots[0], "completed", 60.0, 12.0, 0.0, "a `line` | of two")
    results = [good, Result(shots[1], "", why="weights differ")]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(r.to_json()) + "\n" for r in [results[1], *results]))
    assert sorted(stored([file]), key=str) == sorted(results, key=str)
    lines = table(results)
    assert any("12 s" in line and "a line / of two" in line for line in lines)
    assert any("LOST: weights differ" in line for line in lines)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_docs(page, "\n".join(lines))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| fault") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_without_postgresql_its_fault_is_not_shown_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "_PROGRAMS", Path("/none"))
    monkeypatch.setenv("PATH", "")
    shot = Shot(0, "PostgreSQL under MLflow restarted", "train", "a", 0.0)
    (result,) = run([shot])
    assert (result.ended, result.why) == ("not shown here", "needs PostgreSQL")
    assert not result.lost
