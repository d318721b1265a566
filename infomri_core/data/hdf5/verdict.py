"""Whether an HDF5 file can be read without end or crash: tried first in a child process.

HDF5 2.0.0 can turn in a circle on a damaged file, inside the library, where no signal handler and
no other thread of Python gets a turn. One child (`trial`, a script) reads files for this process,
one after another; a file that holds or ends it is refused, and the next one gets a new child.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import final

from infomri_core.system.errors import InputError

CPU_SECONDS = 20
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("trial.py")))
_BYTES_A_SECOND = 20_000_000
_PATIENCE = 6
_START_SECONDS = 120.0
_READY, _THROUGH = b"ready\n", b"through\n"
_OUT_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)

Key = tuple[str, int, int, int]


def check_trial(path: Path) -> None:
    """``InputError`` unless a child process comes through reading ``path`` in 20 CPU seconds, and
    one more for each 20 MB, or where the CPU is scarce in six times as long by the clock.

    A file of the same size and time of change is tried once a process.
    """
    try:
        stat = path.stat()
    except OSError as error:
        got = error.strerror or "an error"
        raise InputError(str(path), "an HDF5 file", got, "check the path") from None
    key = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    reason = _of_process(os.getpid()).reason(key)
    if reason:
        remedy = "copy the file again, or leave it out"
        raise InputError(str(path), "an HDF5 file that can be read", reason, remedy)


@final
class Trials:
    """The child of this process, started when first needed, and what it found. Not shared with
    forks, which may be made while another thread waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: dict[Key, str] = {}
        self._child: subprocess.Popen[bytes] | None = None

    def reason(self, key: Key) -> str:
        """Why the file is refused, '' if it is not."""
        with self._lock:
            if key not in self._reasons:
                self._reasons[key] = self._tried(key)
            return self._reasons[key]

    def end(self) -> None:
        """Kill the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass

    def _tried(self, key: Key) -> str:
        path, _, n_bytes, _ = key
        seconds = CPU_SECONDS + n_bytes // _BYTES_A_SECOND
        line = json.dumps([path, seconds]).encode() + b"\n"
        for _ in range(2):
            child = self._child or self._started()
            try:
                answer = _answer(child, line, _PATIENCE * seconds)
            except BaseException:
                self.end()
                raise
            if answer == _THROUGH:
                return ""
            waited = answer is None
            code = None if waited else child.wait()
            self.end()
            if code != 0:
                break  # 0: it had gone for want of work
        return _said(code)

    def _started(self) -> subprocess.Popen[bytes]:
        """A child that is ready; ``InputError`` where none can be started."""
        got = "no child process"
        try:
            self._child = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            if _answer(self._child, b"", _START_SECONDS) == _READY:
                return self._child
        except OSError as error:
            got = f"{got} ({error.strerror})"
        except BaseException:
            self.end()
            raise
        self.end()
        remedy = "let this program start processes of its Python"
        raise InputError("the trial of an HDF5 file", "a child process", got, remedy)


def _answer(child: subprocess.Popen[bytes], line: bytes, seconds: float) -> bytes | None:
    """What the child says to ``line``; b'' when it has ended, None when it says nothing."""
    assert child.stdin is not None and child.stdout is not None
    until = time.monotonic() + seconds
    try:
        child.stdin.write(line)
    except BrokenPipeError:
        return b""
    said = b""
    while not said.endswith(b"\n"):
        left = max(0.0, until - time.monotonic())
        if not select.select([child.stdout], [], [], left)[0]:
            return None
        more = os.read(child.stdout.fileno(), 64)
        if not more:
            return b""
        said += more
    return said


def _said(code: int | None) -> str:
    if code is None or -code in _OUT_OF_TIME:
        return "one whose reading has no end"
    return "one that crashes its reader"


@cache
def _of_process(pid: int) -> Trials:
    trials = Trials()
    atexit.register(lambda: trials.end() if os.getpid() == pid else None)
    return trials
