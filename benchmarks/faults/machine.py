"""Disks that fill and clocks that jump, for one federation, and its processes."""

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.fault import NotHere
from tests.support.realfederation import command_line

SITECUSTOMIZE = """
import os
from pathlib import Path
flags = Path(os.environ.get("FAULTS_FLAGS", "/nonexistent"))
if (flags / "hardware").exists():
    os.environ["ATEN_CPU_CAPABILITY"] = "default"
if (flags / "twice").exists():
    from benchmarks.faults import doubled
    doubled.patch()
"""


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[bool]:
    """A file system of its own, of that size, at ``folder``, where this user may mount one; gives
    whether it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Take the last byte of a small disk. Raises ``NotHere`` where it is the machine's own."""
    _check_small(disk)
    with (disk / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))


def clear(disk: Path) -> None:
    """Make room again."""
    (disk / "filler").unlink(missing_ok=True)


def writable(disk: Path, may: bool) -> None:
    """Whether a small disk takes writes. Raises ``NotHere`` where it is the machine's own."""
    _check_small(disk)
    # A remount is refused while a file is open for writing; a bind mount over it is not.
    if may:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        return
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)


def clock_library(folder: Path) -> Path | None:
    """A library that shifts the clock of who preloads it by what stands in ``SKEW_FILE``."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "clock.so"
    source = Path(__file__).parent / "clock.c"
    line = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(line, check=True)
    return library


def set_skew(file: Path, seconds: float) -> None:
    """By how many seconds a clock is wrong from now on."""
    with file.open("r+b" if file.exists() else "wb") as stream:
        stream.write(struct.pack("d", seconds))


def _check_small(disk: Path) -> None:
    if not disk.is_mount():
        raise NotHere("needs the right to mount a small file system")


def descendants(pid: int) -> set[int]:
    """All processes that ``pid`` started, and they in turn."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parents[int(entry.name)] = _parent(entry)
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def running(pid: int) -> str:
    """The command line of a process."""
    return command_line(Path(f"/proc/{pid}"))


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
