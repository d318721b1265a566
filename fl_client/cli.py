"""``infomri-client``: one process for a hospital to start."""

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fl_client.settings import read_settings
from infomri_core.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
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
