"""What the kernel takes from each process of a site, so that a fault in one is not the site's.

The vault gives up the network: a seccomp filter lets it open Unix sockets only. Who has the
network gives up the data: Landlock lets it read the Python installation, the system's libraries
and settings, and the few files it is given, and nothing else; it cannot trace the vault either.
Both last for the life of the process and pass on to its children. Linux only, and no privilege
is needed.
"""

import ctypes
import logging
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from fl_client.settings import SuperLink
from infomri_core.system.errors import InputError

REQUIRE = "INFOMRI_REQUIRE_ISOLATION"
RUN_FILES = ("node", "executor.secret")
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_SYS_LANDLOCK = {"create": 444, "add": 445, "restrict": 446}
_READ_FILE, _READ_DIR, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_READ = _READ_FILE | _READ_DIR | _EXECUTE
_RIGHTS_BY_VERSION = ((1, 13), (2, 14), (3, 15), (5, 16))
_DIRECTORY_RIGHTS = _READ_DIR | sum(1 << bit for bit in range(4, 14))
_RULE_PATH_BENEATH = 1
_LANDLOCK_VERSION = 1


@dataclass(frozen=True)
class _Machine:
    """Numbers of a processor family: its seccomp name, ``seccomp``, ``socket`` and the first
    system call number that belongs to a foreign table."""

    audit: int
    seccomp: int
    socket: int
    foreign: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, 41, 0x40000000),
    "aarch64": _Machine(0xC00000B7, 277, 198, 0x40000000),
}
_IO_URING_SETUP = 425
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EACCES = 13
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06


log = logging.getLogger(__name__)


class Unavailable(OSError):
    """The kernel does not offer it here."""


@final
@dataclass(frozen=True)
class Confinement:
    """The files a process keeps: ``read`` and ``write`` with all below them, ``pass_through``
    folders that may be opened but whose files may not be read."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    pass_through: tuple[Path, ...] = ()

    def covers(self, path: Path) -> bool:
        """Whether ``path`` lies under a folder whose files stay readable."""
        real = path.resolve()
        roots = [root.resolve() for root in (*installation(), *self.read, *self.write)]
        return any(real == root or root in real.parents for root in roots)


def drop_network() -> None:
    """No socket of this process, its threads or its children but of the Unix family from now on.

    ``socket`` fails with EACCES for every other family, and so does io_uring, which could open
    one by another door. Raises ``Unavailable``.
    """
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        raise Unavailable(f"no filter is written for {sys.platform} {platform.machine()}")
    rules = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 5, 0, machine.foreign),
        (_EQUAL, 4, 0, _IO_URING_SETUP),
        (_EQUAL, 0, 2, machine.socket),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 0, 1, 1),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY | _EACCES),
    ]
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    program = ctypes.create_string_buffer(code)
    head = struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(program))
    _no_new_privileges()
    mode_filter, every_thread = 1, 1
    _call(machine.seccomp, mode_filter, every_thread, ctypes.create_string_buffer(head))


def hide() -> None:
    """No process of the same user traces this one or its children, or reads their memory and
    environment, and none of them leaves a core dump. Raises ``Unavailable``."""
    if sys.platform != "linux":
        raise Unavailable(f"no dumpable flag on {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise Unavailable("the kernel keeps this process open to others of its user")


def confine(keep: Confinement) -> None:
    """Of all files, this process and its children can open those in ``keep`` and the Python
    installation only. Raises ``Unavailable``."""
    if sys.platform != "linux":
        raise Unavailable(f"no Landlock on {sys.platform}")
    version = _call(_SYS_LANDLOCK["create"], None, 0, _LANDLOCK_VERSION)
    bits = max(n for since, n in _RIGHTS_BY_VERSION if since <= version)
    everything = (1 << bits) - 1
    rules = _call(
        _SYS_LANDLOCK["create"], ctypes.create_string_buffer(struct.pack("Q", everything)), 8, 0
    )
    try:
        for paths, rights in (
            ((*installation(), *keep.read), _READ),
            ((*_DEVICES, *keep.write), everything),
            (keep.pass_through, _READ_DIR),
        ):
            _allow(rules, paths, rights)
        _no_new_privileges()
        _call(_SYS_LANDLOCK["restrict"], rules, 0)
    finally:
        os.close(rules)


def courier_keeps(folder: Path, socket_path: Path) -> Confinement:
    """The files of the executor and its couriers: Flower's folder, and the way to the socket."""
    return Confinement(write=(folder / "flwr",), pass_through=(socket_path.parent,))


def supernode_keeps(link: SuperLink, folder: Path) -> Confinement:
    """The files of the SuperNode: Flower's folder, what its connection needs, and the secret and
    node id under ``folder``/run."""
    own = (link.root_certificate, link.node_key, *(folder / "run" / name for name in RUN_FILES))
    return Confinement(read=tuple(path for path in own if path), write=(folder / "flwr",))


def apply(step: Callable[[], None], what: str) -> None:
    """Take ``step`` and say so in the log. Where the kernel does not offer it, a warning, or,
    when the environment sets ``INFOMRI_REQUIRE_ISOLATION``, ``InputError``."""
    try:
        step()
        log.info("isolation: %s", what)
    except Unavailable as error:
        if os.environ.get(REQUIRE):
            remedy = "use a kernel with seccomp and Landlock, or start without it"
            raise InputError("--require-isolation", what, str(error), remedy) from None
        log.warning("isolation: not here: %s (%s)", what, error)


_DEVICES = tuple(Path("/dev") / name for name in ("null", "zero", "urandom", "random", "tty"))


def installation() -> tuple[Path, ...]:
    """What a Python program reads to run: its environment, this package, the system's libraries
    and settings."""
    schemes = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = Path(__file__).resolve().parents[1]
    core = own.parent / "infomri_core"
    system = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/run/systemd")
    prefixes = (sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent))
    candidates = [Path(p) for p in (*system, *prefixes, *schemes) if p] + [own, core]
    return tuple(dict.fromkeys(p for p in candidates if p.exists() and p != Path("/")))


def _allow(rules: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        if not path.exists():
            continue
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed = rights if path.is_dir() else rights & ~_DIRECTORY_RIGHTS
            rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor))
            _call(_SYS_LANDLOCK["add"], rules, _RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unavailable("the kernel keeps this process from giving up privileges")


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words: Sequence[object] = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise Unavailable(code, os.strerror(code))
    return int(result)
