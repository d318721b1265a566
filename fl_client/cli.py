"""``infomri-client``: one process for a hospital to start."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fl_client.commands import backups, keys, ledgers, plans, reports
from infomri_core.commands.data import data_app
from infomri_core.machine.proxies import check_proxy, keep_loopback_direct, proxy_words
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from fl_client.settings import SiteSettings

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Exit codes: 0 done; 1 a check failed or a part gave up; 2 bad input.",
)
app.add_typer(plans.app, name="plan")
app.add_typer(keys.app, name="keys")
app.add_typer(ledgers.app, name="ledger")
app.add_typer(reports.app, name="report")
app.add_typer(data_app, name="data")
app.command()(backups.backup)
app.command()(backups.restore)
PARTS = "parts.json"
_log = logging.getLogger("infomri.client")

T = TypeVar("T")


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The site's settings.")] = Path("site.toml"),
    with_vault: Annotated[
        bool, typer.Option("--vault/--no-vault", help="--no-vault: another user runs the vault.")
    ] = True,
    folder: Annotated[
        Path | None,
        typer.Option(help="For logs and Flower's files; by default the vault's state folder."),
    ] = None,
    require_isolation: Annotated[
        bool, typer.Option("--require-isolation", help="Do not start where it does not hold.")
    ] = False,
    metrics: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Answer Prometheus there.")
    ] = "",
    exit_on_fault: Annotated[
        bool, typer.Option("--exit-on-fault", help="End where waiting does not help, with code 1.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions and stop.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also log the libraries' messages.")
    ] = False,
) -> None:
    """Join the federation: start vault, SuperNode and executor, and keep them running.

    Example: infomri-client --config site.toml --metrics 9464
    """
    if version:
        from infomri_core.system.versions import versions

        print(versions("infomri-client"))
        raise typer.Exit
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if context.invoked_subcommand is not None:
        return
    from fl_client.settings import read_settings
    from fl_client.supervision.kit_check import check_files
    from fl_client.supervision.site_lock import lock_folder
    from fl_client.supervision.site_processes import site_processes
    from fl_client.supervision.supervisor import Supervisor

    _log_to_stdout()
    settings = read_settings(config)
    check_proxy(settings.superlink.address.rpartition(":")[0].strip("[]"))
    n_files = check_files(config, settings)
    if n_files:
        _log.info("kit: %d files are as the study centre signed them", n_files)
    own = (folder or settings.vault.state).resolve()
    stop = _stop_on_signals()
    patiently(lambda: lock_folder(own), stop)
    _tell_isolation(settings, folder, with_vault, require_isolation)
    parts = patiently(
        lambda: site_processes(config, settings, folder=folder, with_vault=with_vault), stop
    )
    if metrics:
        _serve_metrics(settings, metrics)
    _log.info("site %s, study centre %s", settings.site.name, settings.superlink.address)
    if words := proxy_words(settings.superlink.address.rpartition(":")[0].strip("[]")):
        _log.info("%s", words)
    told = own / PARTS
    supervisor = Supervisor(parts or [], _log.info, stop, told=told, exits=exit_on_fault)
    raise typer.Exit(supervisor.run())


def patiently(step: Callable[[], T], stop: threading.Event) -> T | None:
    """What ``step`` gives, tried again with growing pauses while the system does not let it (a
    full disk, a folder that is read-only); None once ``stop`` is set."""
    pause = 1.0
    while not stop.is_set():
        try:
            return step()
        except OSError as error:
            where, why = error.filename or "the state folder", error.strerror or str(error)
            _log.info("%s: %s; trying again in %g s", where, why, pause)
        stop.wait(pause)
        pause = min(60.0, 2 * pause)
    return None


@app.command()
def status(
    config: Annotated[Path, typer.Option(help="The site's settings.")] = Path("site.toml"),
) -> None:
    """Say whether the vault answers, what has left it and what it refused, by code; exit code 1
    when it does not answer, not to this user, or its ledger was changed from outside.

    Example: infomri-client status --config site.toml
    """
    from fl_client.settings import read_settings
    from fl_client.sockets.status import vault_status

    settings = read_settings(config)
    for part, state in parts_told(settings.vault.state / PARTS).items():
        if state != "running":
            typer.echo(f"{part}: {state}")
    socket = settings.vault.status_path
    answer = vault_status(socket)
    if answer is None:
        typer.echo(f"no vault answers at {socket}")
        raise typer.Exit(1)
    left = answer.tally
    epsilon = "unbounded" if left.epsilon is None else f"{left.epsilon:.2f}"
    typer.echo(
        f"vault of {answer.site}: {'computing' if answer.busy else 'waiting'}; "
        f"{sum(left.replies.values())} replies, {sum(left.refusals.values())} refusals, "
        f"{left.n_bytes} bytes left, epsilon {epsilon}"
    )
    for code, n in sorted(left.refusals.items()):
        typer.echo(f"  refused {n} times: {code}")
    if not answer.sound:
        typer.echo("the ledger was changed from outside: nothing leaves until it is recovered")
        raise typer.Exit(1)


def parts_told(path: Path) -> dict[str, str]:
    """How a running client's parts stand, by its own word; empty where there is none."""
    try:
        return {str(part): str(state) for part, state in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def main() -> None:
    """Entry point: errors of input are one line and exit code 2, those of the system 1."""
    keep_loopback_direct()
    try:
        app()
    except InputError as error:
        print(f"infomri-client: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"infomri-client: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _tell_isolation(
    settings: "SiteSettings", folder: Path | None, with_vault: bool, required: bool
) -> None:
    from fl_client.isolation.confine import REQUIRE
    from fl_client.isolation.probe import survey

    where = (folder or settings.vault.state).resolve()
    for hold in survey(settings, where, with_vault=with_vault):
        _log.info("isolation: %s", hold.sentence)
        if required and not hold.holds:
            remedy = "fix it, or start without --require-isolation"
            raise InputError("--require-isolation", "isolation that holds", hold.sentence, remedy)
    if required:
        os.environ[REQUIRE] = "1"


def _serve_metrics(settings: "SiteSettings", address: str) -> None:
    from fl_client.vault.metrics import serve
    from infomri_core.machine.ports import host_and_port

    serve(settings.vault.status_path, host_and_port(address, "--metrics"))


def _log_to_stdout() -> None:
    from infomri_core.system import logs

    _log.addHandler(logs.handler(sys.stdout, "client", "%(asctime)s %(message)s"))
    _log.setLevel(logging.INFO)
    _log.propagate = False


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask)
    return stop


if __name__ == "__main__":
    main()
