"""``infomri backup`` and ``infomri restore``: what a study centre must not lose."""

from pathlib import Path
from typing import Annotated

import typer

from infomri_core.system.errors import InputError

Folder = Annotated[Path, typer.Argument(help="The backup's folder.")]
Centre = Annotated[Path, typer.Option("--centre", help="The centre.toml.")]
Database = Annotated[
    Path | None, typer.Option("--database", help="The SuperLink's --database, such as state.db.")
]
Federation = Annotated[
    Path | None, typer.Option("--federation", help="The folder that `infomri provision` made.")
]
_CENTRE = Path("centre.toml")


def backup(
    folder: Folder,
    centre: Centre = _CENTRE,
    database: Database = None,
    federation: Federation = None,
) -> None:
    """Copy runs, MLflow's SQLite store and artifacts, the SuperLink's database and the keys.

    May be run while a study runs. A PostgreSQL store is not copied: use pg_dump. With
    --federation the copy holds the authority's private key: keep it as you keep that.

    Example: `infomri backup /backup/monday --centre centre.toml --database state.db`
    """
    from infomri_core.machine.backup import back_up

    made = back_up(_places(centre, database, federation), folder)
    typer.echo(f"{len(made.files)} files in {folder}")


def restore(
    folder: Folder,
    centre: Centre = _CENTRE,
    database: Database = None,
    federation: Federation = None,
) -> None:
    """Put a backup back where nothing is; stop the SuperLink first, then resume what had failed.

    Example: `infomri restore /backup/monday --centre centre.toml --database state.db`
    """
    from infomri_core.machine.backup import read_backup
    from infomri_core.machine.backup import restore as put_back

    n_files = put_back(read_backup(folder), _places(centre, database, federation))
    typer.echo(f"{n_files} files restored; `infomri run --resume RUN` continues a study")


def _places(centre: Path, database: Path | None, federation: Path | None) -> dict[str, Path]:
    from fl_server.settings import read_settings
    from infomri_core.machine.sqlite_uri import sqlite_path

    settings = read_settings(centre)
    runs, store = settings.centre.directory, settings.tracking_uri
    places = {"runs": runs}
    local = sqlite_path(store)
    for name, path in (
        ("mlflow.db", local),
        ("artifacts", settings.artifacts if local else None),
        ("superlink.db", database),
        ("federation", federation),
    ):
        if path is not None and runs not in path.parents:
            places[name] = path
    if database is not None and runs in database.parents:
        remedy = "move it, so that the copy of the runs and of the database are two things"
        raise InputError("--database", f"a file outside {runs}", str(database), remedy)
    return places
