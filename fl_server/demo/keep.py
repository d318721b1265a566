"""A demo's federation that stays up: its commands, and how it is stopped."""

import os
import shlex
import time
from pathlib import Path
from subprocess import Popen

import psutil  # type: ignore[import-untyped]
import tomli_w
from rich.console import Console

from fl_server.operations.superlink import SuperLink
from infomri_core.machine.hints import shell_command
from infomri_core.machine.interrupts import Interrupts
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

HOLDER = "demo.pid"
CONNECTION = "demo"
_POLL, _PATIENCE = 1.0, 60.0


def hold(
    out: Path,
    superlink: SuperLink,
    clients: dict[str, Popen],
    interrupts: Interrupts,
    console: Console,
) -> None:
    """Print the federation's commands, and return when somebody wants it stopped.

    ``infomri demo --stop`` finds this process by ``demo.pid`` in ``out``.
    """
    connection = {"address": superlink.address}
    connection["root-certificates"] = str(superlink.authority.certificate.resolve())
    table = {"superlink": {CONNECTION: connection, "default": CONNECTION}}
    write_atomically(out / "operator" / "config.toml", tomli_w.dumps(table).encode())
    me = psutil.Process()
    write_atomically(out / HOLDER, f"{me.pid} {me.create_time()}\n".encode())
    try:
        for line in commands(out, next(iter(clients))):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        told: set[str] = set()
        while True:
            interrupts.check()
            for name in {n for n, client in clients.items() if client.poll() is not None} - told:
                told.add(name)
                console.print(f"site {name} has ended: {out / 'sites' / name / 'client.log'}")
            time.sleep(_POLL)
    except KeyboardInterrupt:
        console.print("stopping the federation")
    finally:
        (out / HOLDER).unlink(missing_ok=True)


def commands(out: Path, site: str) -> list[str]:
    """What a person can do with the federation, a line each."""
    at = f"FLWR_HOME={shlex.quote(str(out / 'operator'))} "
    config = out / "sites" / site / "site.toml"
    plan = out / "plan.toml"
    shorter = ("--set", "study.name=again", "--set", "training.rounds=1")
    return [
        "The federation stays up. From another terminal:",
        f"  {at}{shell_command('infomri', 'status', '--centre', out / 'centre' / 'centre.toml')}",
        f"  {at}{shell_command('infomri', 'run', plan, *shorter)}",
        f"  {shell_command('infomri-client', 'status', '--config', config)}",
        f"  {shell_command('infomri-client', 'ledger', 'show', '--config', config)}",
        f"  {shell_command('infomri', 'demo', '--stop', '--out', out)}",
    ]


def stop_demo(out: Path | None, console: Console) -> None:
    """End the federation that stays up in ``out``, or the newest under ``runs``.

    Raises ``InputError`` where none does.
    """
    found = [out / HOLDER] if out is not None else sorted(Path("runs").glob(f"*/{HOLDER}"))
    for path in reversed(found):
        process = _holder(path)
        if process is not None:
            process.terminate()
            process.wait(_PATIENCE)
            console.print(f"stopped {path.parent}", markup=False, highlight=False)
            return
    where = str(out or Path("runs").resolve())
    remedy = "start one with `infomri demo --keep`, or name its --out"
    raise InputError(where, "a demo that stays up", "none", remedy)


def _holder(path: Path) -> psutil.Process | None:
    """The process that wrote ``path``, if it lives: a number alone may be another's by now."""
    try:
        number, created = path.read_text(encoding="ascii").split()
        process = psutil.Process(int(number))
        same = abs(process.create_time() - float(created)) < 1 and process.pid != os.getpid()
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if same else None
