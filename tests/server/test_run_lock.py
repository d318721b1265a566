"""A run's folder has one holder; who was overtaken writes nothing more."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fl_server.run.events import Progress, read_events
from fl_server.run.run_lock import NAME, Overtaken, RunLock
from infomri_core.system.errors import InputError


def quick(seconds: float) -> None:
    """Time that passes at once."""


def hold_until_told(directory: Path, line: Connection) -> None:
    with RunLock.acquire(directory, "the first"):
        line.send("held")
        line.recv()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    """A process of its own that holds the folder."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold_until_told, args=(tmp_path, there))
    process.start()
    assert here.recv() == "held"
    yield process, here
    if process.is_alive():
        process.kill()
    process.join()


def test_a_second_holder_is_refused_with_the_first_one_s_name(tmp_path: Path) -> None:
    with RunLock.acquire(tmp_path, "the first") as first:
        with pytest.raises(InputError, match="held by the first, process"):
            RunLock.acquire(tmp_path, "the second", sleep=lambda seconds: first.beat())
        first.check()
    with RunLock.acquire(tmp_path, "the second") as second:
        assert second.epoch == 2


def test_a_lock_dies_with_its_process(tmp_path: Path, other) -> None:
    process, _ = other
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with RunLock.acquire(tmp_path, "the second", sleep=quick) as second:
        assert second.epoch == 2


def test_a_holder_that_stands_still_is_overtaken_and_finds_out(tmp_path: Path) -> None:
    # Within its context a holder beats; this one, like a stopped process, does not.
    still = RunLock.acquire(tmp_path, "the first")
    progress = Progress(tmp_path / "events.jsonl", still.check)
    progress.report("round", "written while it held the folder")
    with RunLock.acquire(tmp_path, "the second", sleep=quick) as second:
        assert second.epoch == still.epoch + 1
        assert not still.ours()
        with pytest.raises(Overtaken, match="held by the second"):
            progress.report("failed", "written by a ghost")
        second.check()
    sentences = [event["sentence"] for event in read_events(tmp_path / "events.jsonl")[0]]
    assert sentences == ["written while it held the folder"]


def test_what_killed_writes_left_is_swept_when_the_folder_is_taken(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".round-00001.safetensors.abc.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    with RunLock.acquire(tmp_path, "one"):
        assert not left.exists()
        assert json.loads((tmp_path / NAME).read_text())["holder"].startswith("one, process")


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="a folder to write to"):
        RunLock.acquire(tmp_path / "file" / "run", "one")
