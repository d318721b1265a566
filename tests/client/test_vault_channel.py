"""Laws of the vault's door: frames arrive whole, and only from the right peers."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.sockets import channel
from infomri_core.system.errors import InputError, Refused


@contextlib.contextmanager
def serving(
    path: Path, handle: Callable[[bytes], bytes] = bytes, **options: int
) -> Iterator[threading.Event]:
    """A server in a thread; waits until it listens, and for its end."""
    stop = threading.Event()
    thread = threading.Thread(target=channel.serve, args=(path, handle, stop), kwargs=options)
    thread.start()
    try:
        reachable(path)
        yield stop
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def reachable(path: Path) -> None:
    """Return once something listens at ``path``."""
    for _ in range(10_000):
        with contextlib.suppress(OSError):
            channel.call(path, b"", 5)
            return
        threading.Event().wait(0.002)
    raise AssertionError(f"nothing listens at {path}")


@pytest.fixture(scope="module")
def echo() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run" / "s"
        with serving(path):
            yield path


@given(data=st.binary(max_size=4096))
def test_what_is_sent_comes_back_byte_for_byte(echo: Path, data: bytes) -> None:
    assert channel.call(echo, data, 20) == data


def test_two_processes_carry_45_megabytes_each_way(echo: Path) -> None:
    script = (
        "import sys, hashlib, os\n"
        "from pathlib import Path\n"
        "from fl_client.sockets import channel\n"
        "data = os.urandom(45 * 10**6)\n"
        "assert channel.call(Path(sys.argv[1]), data, 60) == data\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(echo)], check=True, timeout=120)


def test_socket_is_private_and_its_folder_too(echo: Path) -> None:
    assert stat.S_IMODE(echo.stat().st_mode) == 0o600
    assert stat.S_IMODE(echo.parent.stat().st_mode) == 0o700


def test_a_peer_of_another_user_is_refused(echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 123456)
    with pytest.raises(ConnectionError):
        channel.call(echo, b"hello", 20)


def test_a_peer_of_the_shared_group_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "s"
    with serving(path, group=os.getegid()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        monkeypatch.setattr(os, "geteuid", lambda: 123456)
        assert channel.call(path, b"hello", 20) == b"hello"


def test_an_oversized_frame_is_refused_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(path, limit=10):
        with pytest.raises(Refused, match="too-large"):
            channel.call(path, bytes(11), 20, limit=10)
        with pytest.raises(OSError):
            channel.call(path, bytes(11), 20)
        assert channel.call(path, bytes(10), 20) == bytes(10)


@given(announced=st.integers(min_value=1, max_value=2**64 - 1), data=st.binary(max_size=64))
def test_a_frame_that_ends_early_harms_nobody(echo: Path, announced: int, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(echo))
        raw.sendall((announced + len(data)).to_bytes(9, "big")[-8:] + data)
    assert channel.call(echo, b"still there", 20) == b"still there"


def test_no_answer_in_time_is_a_timeout(tmp_path: Path) -> None:
    release = threading.Event()

    def slow(data: bytes) -> bytes:
        if data:
            release.wait(20)
        return data

    with serving(tmp_path / "s", slow):
        with pytest.raises(TimeoutError):
            channel.call(tmp_path / "s", b"x", 0.05)
        release.set()


def test_a_long_path_is_served_and_a_long_name_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with serving(deep / "vault.sock"):
        assert channel.call(deep / "vault.sock", b"deep", 20) == b"deep"
    with pytest.raises(InputError, match="shorter path"):
        channel.call(deep / ("n" * 120), b"", 1)


def test_a_second_server_is_refused_and_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        with pytest.raises(InputError, match="running vault"):
            channel.serve(path, bytes, threading.Event())
        assert channel.call(path, b"first", 20) == b"first"
    assert not path.exists()


def test_a_file_in_the_way_and_an_open_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(InputError, match="another file"):
        channel.serve(tmp_path / "s", bytes, threading.Event())
    assert (tmp_path / "s").read_text() == "precious"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(InputError, match="only this user"):
        channel.serve(tmp_path / "open" / "s", bytes, threading.Event())
