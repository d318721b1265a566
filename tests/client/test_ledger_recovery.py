"""Laws of a broken ledger: what can be proved is restored, and what is lost wins nobody budget."""

import contextlib
import dataclasses
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_client.gate.budget import spent
from fl_client.gate.lost_lines import charges
from fl_client.jobs.registry import plan_figures
from fl_client.memory.chain.end import end_file, read_end
from fl_client.memory.chain.lines import RECOVERED, Entry, line_of
from fl_client.memory.chain.recovery import Recovery, check_signature, recover
from fl_client.memory.ledger import Ledger, read_ledger
from fl_client.policy.figures import drawn
from fl_client.settings import Policy
from fl_client.vault import ledger_watch
from infomri_core.dp.accounting import epsilon
from infomri_core.messages import TrainReply
from infomri_core.system.errors import InputError, Refused
from tests.client.test_ledger import entry, opened, written
from tests.redteam.test_undebited import private_plan
from tests.support.vault_fakes import (
    ask,
    evaluate_task,
    jobs_in,
    make_settings,
    refusal,
    train_task,
)

KEY = ec.generate_private_key(ec.SECP384R1())


@pytest.fixture(scope="module")
def good() -> Iterator[tuple[bytes, bytes]]:
    """A ledger, and the file that says how far it came."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        yield written(path), end_file(path).read_bytes()


@contextlib.contextmanager
def put(data: bytes, end: bytes | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(data)
        if end is not None:
            end_file(path).write_bytes(end)
        yield path


def closed(path: Path, **options: Any) -> Recovery:
    return recover(path, KEY, why="a test", by="nobody", **options)


@settings(max_examples=40)
@given(data=st.data(), known=st.booleans())
def test_one_changed_byte_is_restored_wherever_it_is(
    good: tuple[bytes, bytes], data: st.DataObject, known: bool
) -> None:
    whole, end = good
    place = data.draw(st.integers(0, len(whole) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[place]))
    broken = whole[:place] + bytes([byte]) + whole[place + 1 :]
    with put(broken, end if known else None) as path:
        done = closed(path)
        entries = read_ledger(path)
        assert b"".join(map(line_of, entries[:-1])) == whole, "to the byte"
        assert done.found.lost == 0 and entries[-1].kind == RECOVERED
        assert done.kept.read_bytes() == broken
        check_signature(entries[-1])
        with opened(path) as ledger:
            ledger.append(entry(9))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("line", [0, 2, 3])
@pytest.mark.parametrize("place", [0, 1, -2])
def test_a_byte_that_became_the_end_of_a_line_is_restored(
    good: tuple[bytes, bytes], line: int, place: int, known: bool
) -> None:
    whole, end = good
    lines = whole.splitlines(keepends=True)
    cut = lines[line]
    place %= len(cut)
    lines[line] = cut[:place] + b"\n" + cut[place + 1 :]
    with put(b"".join(lines), end if known else None) as path:
        done = closed(path)
        assert b"".join(map(line_of, read_ledger(path)[:-1])) == whole, "to the byte"
        assert (done.found.lost, done.found.restored) == (0, 1)


@given(data=st.data())
def test_lines_lost_moved_or_doubled_are_found_or_counted(
    good: tuple[bytes, bytes], data: st.DataObject
) -> None:
    whole, end = good
    lines = whole.splitlines(keepends=True)
    picks = data.draw(st.lists(st.sampled_from(range(4)), max_size=6))
    broken = b"".join(lines[i] for i in picks)
    if broken == whole:
        return
    with put(broken, end) as path:
        done = closed(path)
        hashes = {e.was or e.hash for e in read_ledger(path)}
        kept = {e.hash for e in [*done.found.chain, *done.found.rest]}
        present = set(picks) | {3}
        assert kept <= hashes and len(kept) == len(present), "the end file has the last line"
        assert done.found.lost == 4 - len(present)


def test_lines_of_a_copy_fill_the_gap(good: tuple[bytes, bytes], tmp_path: Path) -> None:
    whole, end = good
    lines = whole.splitlines(keepends=True)
    with put(lines[0] + b"#" * 80 + b"\n" + lines[3], end) as path:
        copy = tmp_path / "copy.jsonl"
        copy.write_bytes(b"".join(lines[:3]))
        done = closed(path, copies=read_ledger(copy))
        assert (done.found.lost, done.found.copied) == (0, 2)
        assert path.read_bytes().startswith(whole)


def test_a_recovered_ledger_is_recovered_again(good: tuple[bytes, bytes]) -> None:
    whole, end = good
    lines = whole.splitlines(keepends=True)
    with put(lines[0] + b"##\n" + lines[2] + lines[3], end) as path:
        first = closed(path)
        assert first.found.lost == 1 and [e.kind for e in read_ledger(path)][1] == RECOVERED
        with pytest.raises(InputError, match="unbroken and whole"):
            closed(path)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"round": 2', b'"round": 7'))
        assert closed(path).found.lost == 0
        assert path.read_bytes().startswith(data)


def test_a_crash_between_the_ledger_and_its_end_does_no_harm(good: tuple[bytes, bytes]) -> None:
    whole, end = good
    with put(whole.replace(b'"round": 2', b'"round": 7'), end) as path:
        closed(path)
        end_file(path).write_bytes(end)
        with opened(path) as ledger:
            ledger.append(entry(9))


def test_a_closing_line_of_another_place_or_word_is_no_signed_one(
    good: tuple[bytes, bytes],
) -> None:
    with put(good[0].replace(b'"round": 2', b'"round": 7'), good[1]) as path:
        line = closed(path).line
    for other in (
        dataclasses.replace(line, previous="0" * 64),
        dataclasses.replace(line, recovered={**line.recovered, "lost": 3}),
        dataclasses.replace(line, recovered={}),
    ):
        with pytest.raises(InputError, match="wrong signature"):
            check_signature(other)


def test_a_whole_ledger_and_one_in_use_are_not_recovered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    with pytest.raises(InputError, match="unbroken and whole"):
        closed(path)
    with opened(path), pytest.raises(InputError, match="in use"):
        closed(path)


@given(cut=st.integers(0, 300))
def test_a_last_line_that_was_whole_is_restored_and_may_have_left(
    good: tuple[bytes, bytes], cut: int
) -> None:
    whole, end = good
    size = len(whole.splitlines(keepends=True)[-1])
    with put(whole[: len(whole) - min(cut, size - 1)], end) as path:
        with opened(path) as ledger:
            notes = [e.note for e in ledger.entries() if e.kind == "torn"]
        assert path.read_bytes().startswith(whole)
        assert [("may have left" in note) for note in notes] == ([True] if cut else [])


def test_a_line_that_was_never_whole_never_left(good: tuple[bytes, bytes]) -> None:
    whole, end = good
    with put(whole + b'{"charge": {"fig', end) as path, opened(path) as ledger:
        assert "what it spoke of never left" in ledger.entries()[-1].note


@pytest.mark.parametrize(("kept", "lost"), [(2, 1), (3, 0)])
def test_a_ledger_that_does_not_reach_its_end_takes_no_line_until_it_is_recovered(
    good: tuple[bytes, bytes], kept: int, lost: int
) -> None:
    whole, end = good
    with put(b"".join(whole.splitlines(keepends=True)[:kept]), end) as path:
        with opened(path) as ledger, pytest.raises(Refused, match="missing at the end"):
            ledger.append(entry(9))
        assert closed(path).found.lost == lost, "the end file has the last line"
        with opened(path) as ledger:
            ledger.append(entry(9))


def test_breaking_lines_wins_no_budget(tmp_path: Path) -> None:
    """Whatever charges are made unreadable: epsilon and figures are at least as before, the
    studies of before are closed, and another one is answered."""
    plan, policy = private_plan(), Policy()
    path = make_settings(tmp_path).vault.state / "ledger.jsonl"
    with jobs_in(tmp_path) as (jobs, _, ledger):
        assert isinstance(ask(jobs, train_task(plan)), TrainReply)
        assert isinstance(ask(jobs, train_task(plan, round=2)), TrainReply)
        before = list(ledger.entries())
    lines = path.read_bytes().splitlines(keepends=True)
    ends = {file: file.read_bytes() for file in (end_file(path), path.with_name("released.json"))}
    for gone in ([0], [2], [0, 1], [0, 1, 2, 3]):
        path.write_bytes(b"".join(b"##\n" if i in gone else line for i, line in enumerate(lines)))
        for file, content in ends.items():
            file.write_bytes(content)
        done = closed(
            path,
            studies=[plan.study.name],
            counted=lambda entries, lost: charges(entries, lost, [plan], policy, plan_figures),
        )
        assert done.found.lost == len(set(gone) - {3}), "the end file has the last line"
        after = read_ledger(path)
        assert epsilon(spent(after), 1e-5) >= epsilon(spent(before), 1e-5)
        assert drawn(after, 365) >= drawn(before, 365)
    with jobs_in(tmp_path) as (jobs, _, _):
        assert refusal(jobs, train_task(plan)) == "ledger"
        other = private_plan(study={"name": "another"})
        assert isinstance(ask(jobs, train_task(other)), TrainReply)


def test_with_nothing_to_go_by_lost_lines_are_without_bound() -> None:
    made = charges([], 2, [], Policy(), plan_figures)
    assert made[0].privacy["epsilon"] is None and made[0].charge["figures"] > 0


def test_a_byte_changed_under_a_running_vault_stops_the_next_job(tmp_path: Path) -> None:
    path = make_settings(tmp_path).vault.state / "ledger.jsonl"
    with jobs_in(tmp_path) as (jobs, site, _):
        assert isinstance(ask(jobs, train_task()), TrainReply)
        assert jobs.status().sound
        with path.open("r+b") as stream:
            stream.seek(20)
            byte = stream.read(1)
            stream.seek(20)
            stream.write(bytes([byte[0] ^ 1]))

        def never(_: Any) -> Any:
            raise AssertionError("nothing is computed behind a broken chain")

        site.result = never
        assert refusal(jobs, train_task(round=2)) == "ledger"
        assert refusal(jobs, evaluate_task()) == "ledger"
        assert not jobs.status().sound


def test_the_watch_tells_of_a_change_while_nothing_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.jsonl"
    data, told = written(path), threading.Event()

    class Heard(Ledger):  # type: ignore[misc]
        """Tells the test when it was looked at."""

        def sound(self) -> bool:
            found = super().sound()
            told.set()
            return found

    with contextlib.closing(Heard.open(path)) as ledger:
        path.write_bytes(data.replace(b'"round": 2', b'"round": 7'))
        with ledger_watch.watched(ledger, every=0.01):
            assert told.wait(60)
    assert "ledger recover" in caplog.text


def test_what_is_carried_over_keeps_its_time_and_its_hash(good: tuple[bytes, bytes]) -> None:
    whole, end = good
    lines = whole.splitlines(keepends=True)
    with put(whole, end) as path:
        last = read_ledger(path)[3]
    with put(lines[0] + b"##\n" + lines[2] + lines[3], end) as path:
        closed(path)
        carried: Entry = next(e for e in read_ledger(path) if e.was == last.hash)
        assert (carried.time, carried.round) == (last.time, last.round)
        told = read_end(end_file(path))
        assert told is not None and told.reached(read_ledger(path))
