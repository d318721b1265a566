"""``infomri operator``: what an operator does with the own kit besides submitting."""

from pathlib import Path
from typing import Annotated

import typer

operator_app = typer.Typer(no_args_is_help=True)


@operator_app.callback()
def _operator() -> None:
    """Be the operator from elsewhere, and sign what goes to hospitals."""


Kit = Annotated[
    Path,
    typer.Option("--operator", envvar="INFOMRI_OPERATOR", help="Folder of your operator's kit"),
]


@operator_app.command()
def connect(
    superlink: Annotated[str, typer.Option("--superlink", metavar="HOST:PORT", help="The proxy.")],
    operator: Kit,
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


@operator_app.command()
def sign(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="A privacy report, say.")],
    operator: Kit,
) -> None:
    """Sign files; hospitals check them with `infomri-client report verify`.

    FILE.signature is written beside each: over its bytes, its name and the time.

    Example: `infomri operator sign runs/knee/privacy-report.html --operator operator`
    """
    import datetime

    from fl_server.authority.operators import read_operator
    from infomri_core.kits.signed_file import sign_file

    own = read_operator(operator)
    for path in files:
        place = sign_file(path, own.certificate, own.key, datetime.datetime.now(datetime.UTC))
        typer.echo(f"{path}: signed as {own.name}, {place}")
