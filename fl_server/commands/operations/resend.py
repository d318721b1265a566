"""``infomri resend``: what MLflow has not got yet of a run."""

from pathlib import Path
from typing import Annotated

import typer


def resend(
    run: Annotated[Path, typer.Argument(help="The run's folder, or the demo's around it.")],
    store: Annotated[
        str,
        typer.Option("--store", help="MLflow's URI; default: the one of centre.toml."),
    ] = "",
    centre: Annotated[
        Path | None,
        typer.Option(
            "--centre", envvar="INFOMRI_CENTRE", help="centre.toml; default: beside the run."
        ),
    ] = None,
) -> None:
    """Send what a run could not report while MLflow was out of reach; exit code 1 if it still is.

    Example: `infomri resend runs/knee-123`
    """
    from fl_server.tracking.resend import resend_run

    left = resend_run(run, store, centre)
    typer.echo("all of it is in MLflow" if not left else f"{left} records remain in {run}")
    if left:
        raise typer.Exit(1)
