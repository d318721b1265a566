"""``infomri-client``: one process for a hospital to start."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fl_client.commands import ledgers, plans
from fl_client.isolation import REQUIRE
from fl_client.settings import SiteSettings, read_settings
from infomri_core.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(plans.app, name="plan")
app.add_typer(ledgers.app, name="ledger")
_log = logging.getLogger("infomri.client")


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
) -> None:
    """Join the federation: start vault, SuperNode and executor, and keep them running.

    Example: infomri-client --config site.toml
    """
    if context.invoked_subcommand is not None:
        return
    from fl_client.parts import site_parts
    from fl_client.supervisor import Supervisor

    _log_to_stdout()
    settings = read_settings(config)
    _tell_isolation(settings, folder, with_vault, require_isolation)
    parts = site_parts(config, settings, folder=folder, with_vault=with_vault)
    stop = _stop_on_signals()
    _log.info("site %s, study centre %s", settings.site.name, settings.superlink.address)
    raise typer.Exit(Supervisor(parts, _log.info, stop).run())


def main() -> None:
    """Entry point: errors of input are one line and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"infomri-client: {error}", file=sys.stderr)
        sys.exit(2)


def _tell_isolation(
    settings: SiteSettings, folder: Path | None, with_vault: bool, required: bool
) -> None:
    from fl_client.holds import survey

    where = (folder or settings.vault.state).resolve()
    for hold in survey(settings, where, with_vault=with_vault):
        _log.info("isolation: %s", hold.sentence)
        if required and not hold.holds:
            remedy = "mend it, or start without --require-isolation"
            raise InputError("--require-isolation", "isolation that holds", hold.sentence, remedy)
    if required:
        os.environ[REQUIRE] = "1"


def _log_to_stdout() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    _log.addHandler(handler)
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
