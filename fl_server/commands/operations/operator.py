"""``infomri operator``: reach a SuperLink behind the proxy with Flower's own command line."""

from pathlib import Path
from typing import Annotated

import typer

operator_app = typer.Typer(help="Be the operator from elsewhere.", no_args_is_help=True)


@operator_app.callback()
def _operator() -> None:
    """Be the operator from elsewhere."""


@operator_app.command()
def connect(
    superlink: Annotated[str, typer.Option("--superlink", metavar="HOST:PORT", help="The proxy.")],
    operator: Annotated[
        Path,
        typer.Option(
            "--operator", envvar="INFOMRI_OPERATOR", help="Folder of your operator's kit"
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback")] = 8001,
) -> None:
    """Open a port on loopback for `flwr`, which cannot show a certificate; Ctrl-C closes it.

    Example: `infomri operator connect --superlink centre.example.org:443 --operator operator`
    """
    import asyncio

    from fl_server.operations.control import operator_context
    from fl_server.operations.forwarder import HOST, forwarded
    from fl_server.terminal.exit_codes import interrupted
    from infomri_core.machine.ports import host_and_port

    target, trust = host_and_port(superlink, "--superlink"), operator_context(operator)

    async def serve() -> None:
        async with forwarded(port, target, trust) as found:
            typer.echo(f"{HOST}:{found} is {superlink}; for `flwr`, in $FLWR_HOME/config.toml:")
            typer.echo(f'[superlink.forwarded]\naddress = "{HOST}:{found}"\ninsecure = true')
            await asyncio.Event().wait()

    with interrupted("the port is closed"):
        asyncio.run(serve())
