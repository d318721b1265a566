"""Laws of the ledger: what was written stays, and whatever was done to it shows."""

import contextlib
import csv
import io
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.memory.ledger import Entry, Ledger, export_csv, read_ledger
from infomri_core.system.errors import InputError, Refused


def entry(number: int = 0, note: str = "") -> Entry:
    return Entry(
        run="ab" * 32,
        job="train",
        round=number,
        kind="trained",
        n_bytes=10,
        sha256="cd" * 32,
        note=note,
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger.open(path)) as ledger:
        yield ledger


def written(path: Path, n_entries: int = 4) -> bytes:
    with opened(path) as ledger:
        for number in range(n_entries):
            ledger.append(entry(number))
    return path.read_bytes()


@contextlib.contextmanager
def file_limit(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond ``n_bytes``: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def good() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        yield written(Path(folder) / "ledger.jsonl")


@given(notes=st.lists(st.text(max_size=20), max_size=5))
def test_entries_are_read_back_in_order_and_survive_reopening(notes: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        for number, note in enumerate(notes):
            with opened(path) as ledger:
                ledger.append(entry(number, note))
                assert ledger.verify() == number + 1
        with opened(path) as ledger:
            assert [(e.round, e.note) for e in ledger.entries()] == list(enumerate(notes))


@given(data=st.data())
def test_any_changed_byte_breaks_the_chain(good: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good[position]))
    changed = good[:position] + bytes([byte]) + good[position + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(changed)
        with pytest.raises(InputError, match="line"):
            read_ledger(path)
        assert path.read_bytes() == changed


@given(data=st.data())
def test_a_lost_moved_or_doubled_line_breaks_the_chain(good: bytes, data: st.DataObject) -> None:
    lines = good.splitlines(keepends=True)
    picks = st.lists(st.sampled_from(range(len(lines))), max_size=6)
    some = data.draw(picks.filter(lambda picked: picked != list(range(len(picked)))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(b"".join(lines[i] for i in some))
        with pytest.raises(InputError, match="unbroken chain"), opened(path):
            pass


@given(cut=st.integers(1, 200))
def test_a_torn_last_line_is_reported_kept_and_noted(good: bytes, cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(good[:-cut])
        with pytest.raises(InputError, match="torn line"):
            read_ledger(path)
        with opened(path) as ledger:
            ledger.append(entry(9))
        kinds = [e.kind for e in read_ledger(path)]
        assert kinds == ["trained"] * 3 + ["torn", "trained"]
        fragment = good.splitlines(keepends=True)[-1][:-cut]
        assert (Path(folder) / "ledger.jsonl.torn").read_bytes() == fragment + b"\n"


def test_a_full_disk_stops_the_job_and_leaves_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    before = written(path)
    with opened(path) as ledger:
        with (
            file_limit(len(before) + 100),
            pytest.raises(Refused, match="cannot be written"),
        ):
            ledger.append(entry(4))
        assert path.read_bytes() == before
        ledger.append(entry(4))
        assert ledger.verify() == 5


@pytest.mark.parametrize("change", ["append", "cut", "replace", "remove", "overwrite"])
def test_a_ledger_changed_under_the_vault_stops_it(tmp_path: Path, change: str) -> None:
    path = tmp_path / "ledger.jsonl"
    data = written(path)
    with opened(path) as ledger:
        if change == "append":
            path.write_bytes(data + b"{}\n")
        elif change == "cut":
            path.write_bytes(data[: data.index(b"\n") + 1])
        elif change == "replace":
            (tmp_path / "other").write_bytes(data)
            (tmp_path / "other").replace(path)
        elif change == "overwrite":
            path.write_bytes(data[:-10] + b"0" * 9 + b"\n")
        else:
            path.unlink()
        with pytest.raises(Refused, match="changed from outside"):
            ledger.append(entry(4))


def test_two_vaults_cannot_share_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with opened(path) as ledger:
        with pytest.raises(InputError, match="in use"):
            Ledger.open(path)
        script = (
            "import sys; from pathlib import Path; from fl_client.memory.ledger import Ledger\n"
        )
        script += "Ledger.open(Path(sys.argv[1]))"
        command = [sys.executable, "-c", script, str(path)]
        other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "one in use" in other.stderr
        ledger.append(entry())
    assert len(read_ledger(path)) == 1


def test_the_export_holds_every_field_of_every_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    out = io.StringIO()
    export_csv(read_ledger(path), out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [row["round"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1]["previous"] == rows[0]["hash"]


def test_a_missing_ledger_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_ledger(tmp_path / "ledger.jsonl")
