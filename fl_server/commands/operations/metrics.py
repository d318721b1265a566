"""``infomri metrics``: figures of the study centre for Prometheus."""

from pathlib import Path
from typing import Annotated

import typer

from infomri_core.machine.ports import host_and_port


def metrics(
    centre: Annotated[Path, typer.Option("--centre", help="The centre.toml.")] = Path(
        "centre.toml"
    ),
    superlink: Annotated[
        str | None,
        typer.Option("--superlink", help="A connection of Flower's config.toml."),
    ] = None,
    port: Annotated[str, typer.Option("--port", metavar="[HOST:]PORT", help="Where.")] = "9465",
) -> None:
    """Answer Prometheus with rounds, phase seconds, refusals and sites online, until stopped.

    Example: `infomri metrics --centre centre.toml --superlink hospital-net --port 9465`
    """
    from fl_server.operations.control import Control, NodeState
    from fl_server.operations.prometheus import CentreFigures, serve
    from fl_server.settings import read_settings

    def nodes() -> list[NodeState]:
        with Control.named(superlink) as control:
            return control.nodes()

    figures = CentreFigures(read_settings(centre).centre.directory, nodes)
    thread = serve(figures, host_and_port(port, "--port"))
    typer.echo(f"figures at port {port}")
    thread.join()
