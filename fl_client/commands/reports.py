"""``infomri-client report``: whether a report is as the study centre's operator signed it."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Reports that the study centre signed.", no_args_is_help=True)


@app.callback()
def _report() -> None:
    """Reports that the study centre signed."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The report; FILE.signature lies beside it.")],
    authority: Annotated[
        Path, typer.Option("--ca", help="The study's authority: ca.crt of this site's kit.")
    ] = Path("ca.crt"),
) -> None:
    """Check that a file is as an operator of the study signed it.

    A certificate that the study centre revoked is not known here; ask there.

    Example: infomri-client report verify privacy-report.html --ca infomri-west/ca.crt
    """
    from infomri_core.kits.signed_file import check_signed

    found = check_signed(file, authority)
    typer.echo(f"{file} is as {found.operator} signed it at {found.time}; sha256 {found.sha256}")
