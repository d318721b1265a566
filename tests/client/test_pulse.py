"""Liveness from end to end, a socket that is taken away, and one client a folder."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_client.cli import parts_told, patiently
from fl_client.network.pulse import EVERY_SECONDS, PATIENCE_SECONDS, Heart, Pulse
from fl_client.sockets import channel
from fl_client.supervision.site_lock import NAME, lock_folder
from infomri_core.system.errors import InputError
from tests.support.realfederation import wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that must handle nothing but echoes."""
    path, stop = tmp_path / "run" / "vault.sock", threading.Event()

    def handle(frame: bytes) -> bytes:
        raise AssertionError("an echo was handled")

    thread = threading.Thread(target=channel.serve, args=(path, handle, stop))
    thread.start()
    wait_for(lambda: channel.listening(path), 20)
    yield path
    stop.set()
    thread.join()


def test_a_living_door_echoes_and_a_missing_one_does_not(door: Path, tmp_path: Path) -> None:
    assert channel.alive(door, 20.0)
    assert not channel.alive(tmp_path / "none.sock", 1.0)


def test_a_socket_that_was_taken_away_is_made_again(door: Path) -> None:
    door.unlink()
    wait_for(lambda: channel.alive(door, 20.0), 20)


class Beating:
    """A heart and the pulse that is felt, at one clock."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.clock = Clock()
        self.heart = Heart(folder / "pulse", socket, self.clock)
        self.pulse = Pulse(folder / "pulse", self.clock)

    def after(self, seconds: float, *, beating: bool = True) -> tuple[str | None, str | None]:
        """The verdicts on executor and vault after some time."""
        verdicts: tuple[str | None, str | None] = (None, None)
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += EVERY_SECONDS
            if beating:
                self.heart.beat()
            found = self.pulse.executor(), self.pulse.vault()
            verdicts = (verdicts[0] or found[0], verdicts[1] or found[1])
        return verdicts


def test_a_site_that_lives_is_left_alone(door: Path, tmp_path: Path) -> None:
    assert Beating(tmp_path, door).after(3 * PATIENCE_SECONDS) == (None, None)


def test_an_executor_that_stands_still_is_replaced_and_the_vault_is_not(
    door: Path, tmp_path: Path
) -> None:
    site = Beating(tmp_path, door)
    site.after(PATIENCE_SECONDS)
    executor, vault = site.after(2 * PATIENCE_SECONDS, beating=False)
    assert executor is not None and "has not moved" in executor
    assert vault is None


def test_a_vault_that_gives_no_echo_is_replaced_and_the_executor_is_not(tmp_path: Path) -> None:
    executor, vault = Beating(tmp_path, tmp_path / "none.sock").after(2 * PATIENCE_SECONDS)
    assert vault is not None and "no echo" in vault
    assert executor is None


def test_a_second_client_on_a_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    secret = tmp_path / "run" / "executor.secret"
    secret.write_bytes(b"shared")
    first = lock_folder(tmp_path)
    with pytest.raises(InputError, match=f"held by another infomri-client, process {os.getpid()}"):
        lock_folder(tmp_path)
    assert secret.read_bytes() == b"shared"
    assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"
    os.close(first)
    os.close(lock_folder(tmp_path))


def test_a_start_that_the_system_hinders_is_tried_again() -> None:
    tries = []

    class NoWaiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return False

    def step() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(28, "No space left on device", "state")
        return "done"

    assert patiently(step, NoWaiting()) == "done"
    assert len(tries) == 3


def test_what_a_client_says_of_its_parts_is_read_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    assert parts_told(path) == {}
    path.write_text('{"vault": "gave up: no data"}')
    assert parts_told(path) == {"vault": "gave up: no data"}
    path.write_text('{"vault": "gave')
    assert parts_told(path) == {}
