"""``infomri init``: the files of a new study, commented."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one")],
    data: Annotated[str, typer.Option(help="Data URI; see docs/data.md")] = "phantom:",
) -> None:
    """Write a commented plan, the centre's settings and a file for each site, for your data.

    Nothing is asked and nothing is started; the commands that use the files are printed.

    Example: `infomri init knee --data slices:knees.h5`
    """
    from fl_server.demo.study_files import write_study
    from infomri_core.system.paths import anchored_here

    for line in write_study(folder, anchored_here(data)):
        typer.echo(line)
