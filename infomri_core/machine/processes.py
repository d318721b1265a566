"""Child processes that never outlive the one who started them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def tether(parent: int) -> None:
    """Have the kernel end this process when its ``parent`` ends, however that ends.

    Linux only; elsewhere a no-op. Ends at once when the parent is already gone. The tie is to
    the parent's *thread* that started this process: start children from a thread that lasts.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def start(
    command: Sequence[str], log: Path | None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start a command tethered to this process, in a session of its own; output goes to ``log``,
    or, without one, where this process's goes.

    Call it from the main thread. A session of its own keeps a terminal's Ctrl-C from reaching
    the child before its parent has decided what to stop first.
    """
    tethered = [sys.executable, "-m", "infomri_core.machine.processes", str(os.getpid()), *command]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if log is None else log.open("ab") as out:
        return subprocess.Popen(
            tethered,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=None if out is None else subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def stop(process: subprocess.Popen, grace: float = 10.0) -> int:
    """End a process started with :func:`start`; its exit code.

    SIGTERM once (a second one would cut short the clean end of many programs); after ``grace``
    seconds SIGKILL. What is left of its process group (its own children) goes with it.
    """
    if process.poll() is None:
        process.terminate()
    return _finish(process, grace)


def stop_all(processes: Sequence[subprocess.Popen], grace: float = 10.0) -> None:
    """Ask all of them to end at once, then wait ``grace`` seconds for the lot, then SIGKILL."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + grace
    for process in processes:
        _finish(process, max(0.1, until - time.monotonic()))


def script(name: str) -> str:
    """Path of a console script of this environment, such as ``flower-supernode``."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def _finish(process: subprocess.Popen, grace: float) -> int:
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
    _kill_group(process.pid)
    return process.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _exec_tethered(arguments: Sequence[str]) -> None:
    tether(int(arguments[0]))
    os.execvp(arguments[1], list(arguments[1:]))


if __name__ == "__main__":
    _exec_tethered(sys.argv[1:])
