"""The machine: Python, packages, programs, torch, threads, disk, ports."""

import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

from fl_server.health.finding import Finding, ok, problem, warning
from infomri_core.machine.processes import script

DISTRIBUTION = "infomri-federated"
PYTHON = (3, 11)
PROGRAMS = ("flower-superlink", "flower-supernode", "flower-superexec", "flwr")
LITTLE_DISK, NO_DISK = 5 * 2**30, 2**30
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """Python 3.11 or newer."""
    found = ".".join(str(part) for part in version)
    if version >= PYTHON:
        yield ok("Python", found)
    else:
        yield problem("Python", found, "make the environment with Python 3.11 or newer")


def check_packages(
    installed: Callable[[str], str] = importlib.metadata.version,
) -> Iterator[Finding]:
    """Every package this one requires is there, in a version it can use."""
    try:
        requires = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield warning("packages", f"{DISTRIBUTION} is not installed", "pip install it")
        return
    needed = [Requirement(text) for text in requires]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = []
    for requirement in needed:
        try:
            version = installed(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        yield problem("packages", "; ".join(wrong), "install with -c constraints.txt")
    else:
        yield ok("packages", f"all {len(needed)} as required, flwr {installed('flwr')}")


def check_programs(locate: Callable[[str], str] = script) -> Iterator[Finding]:
    """Flower's programs lie beside this interpreter, where they are started from."""
    missing = [name for name in PROGRAMS if not os.access(locate(name), os.X_OK)]
    folder = Path(locate(PROGRAMS[0])).parent
    if missing:
        remedy = "install flwr into the environment of this interpreter"
        yield problem("Flower programs", f"{', '.join(missing)} not in {folder}", remedy)
    else:
        yield ok("Flower programs", f"{', '.join(PROGRAMS)} in {folder}")


def check_torch(device: str = "auto") -> Iterator[Finding]:
    """torch imports, and computes on the device asked for."""
    try:
        import torch

        from infomri_core.physics.kspace import fft2c
        from infomri_core.system.device import pick_device
    except (ImportError, OSError) as error:
        yield problem("torch", f"cannot be imported: {error}", "install torch again")
        return
    chosen = pick_device(device)
    try:
        works = bool(torch.isfinite(fft2c(torch.ones(4, 4, device=chosen)).abs()).all())
    except RuntimeError as error:
        works, reason = False, str(error).splitlines()[0]
    else:
        reason = "the Fourier transform gives no numbers"
    name = torch.cuda.get_device_name(chosen) if chosen.startswith("cuda") else chosen.upper()
    if not works:
        remedy = "set device = 'cpu', or install a torch that fits the driver"
        yield problem("torch", f"{torch.__version__} fails on {name}: {reason}", remedy)
    else:
        yield ok("torch", f"{torch.__version__} on {name}")


def usable_cpus(quota_file: Path = CPU_QUOTA) -> int:
    """Processors this process may use: its affinity, and the container's quota where one is."""
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(n, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return n


def check_threads(
    asked: int = 0, environment: str | None = None, n_cpus: int | None = None
) -> Iterator[Finding]:
    """No more threads than processors. ``asked``: the setting, 0 for torch's own choice;
    ``environment``: OMP_NUM_THREADS."""
    n = usable_cpus() if n_cpus is None else n_cpus
    if environment is not None and not (environment.isdigit() and int(environment) > 0):
        remedy = "set it to a number, or unset it"
        yield warning("threads", f"OMP_NUM_THREADS is {environment!r}", remedy)
        return
    if asked:
        threads, source = asked, "the settings"
    elif environment is not None:
        threads, source = int(environment), "OMP_NUM_THREADS"
    else:
        import torch

        threads, source = torch.get_num_threads(), "torch"
    found = f"{threads} ({source}) on {n} processors"
    if threads > n:
        remedy = f"set threads to {n} or less: more of them wait for each other"
        yield warning("threads", found, remedy)
    else:
        yield ok("threads", found)


def check_disk(
    folder: Path, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> Iterator[Finding]:
    """``folder``, or the nearest that exists above it, can be written to and has room."""
    place = nearest_folder(folder)
    name = f"disk at {folder}"
    if not os.access(place, os.W_OK | os.X_OK):
        yield problem(name, f"{place} cannot be written to", "choose another, or fix its owner")
        return
    free = free_bytes(place)
    found = f"{free / 2**30:.1f} GiB free"
    if free < NO_DISK:
        yield problem(name, found, "free some: checkpoints and state need at least 1 GiB")
    elif free < LITTLE_DISK:
        yield warning(name, found, "free some before a long study")
    else:
        yield ok(name, found)


def nearest_folder(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())


def check_port(port: int) -> Iterator[Finding]:
    """Nothing listens at ``port`` on this machine, so that a SuperNode can."""
    name = f"port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            found = error.strerror or type(error).__name__
            remedy = "stop what listens there (a running infomri-client does), or take "
            remedy += "[superlink] runtime_port out of site.toml: a free one is then chosen"
            yield problem(name, found, remedy)
        else:
            yield ok(name, "free for the SuperNode")
