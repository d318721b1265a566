"""A tracking store that was moved or copied with its files: MLflow wrote down where they lay.

What lies beside the store, at the same place below it, is what the store means. So a run's folder
opens on another machine and under another name.
"""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infomri_core.machine.sqlite_uri import quoted

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def local_path(location: str) -> Path | None:
    """The path of an artifact location, ``file:`` URI or plain; None where it is remote."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def beside(store: Path, location: str, run_id: str) -> Path | None:
    """Where the files of the run ``run_id`` lie, which the store says are at ``location``.

    The same place below the folder of ``store`` counts first, else ``location`` itself; None
    where neither is there. A place is the same when its end is, from the run's id or earlier on.
    """
    named = local_path(location)
    if named is None or run_id not in named.parts:
        return None
    last = named.parts.index(run_id)
    for first in range(1, last + 1):
        found = store.parent.joinpath(*named.parts[first:])
        if found.is_dir():
            return found
    return named if named.is_dir() else None


def follow_move(store: Path) -> bool:
    """Correct the locations in a SQLite store whose files were moved along with it.

    True where something was changed. A store that cannot be read or written is left as it is.
    """
    try:
        with contextlib.closing(sqlite3.connect(store, timeout=30)) as connection, connection:
            roots = _moved_roots(connection, store.absolute())
            for old, new in roots.items():
                for table, column in _COLUMNS:
                    _replace(connection, table, column, old, new)
            return bool(roots)
    except (sqlite3.Error, OSError):
        return False


def _moved_roots(connection: sqlite3.Connection, store: Path) -> dict[Path, Path]:
    """New folders by old ones, for which a run's files lie beside ``store``."""
    roots = {}
    for run_id, location in connection.execute("SELECT run_uuid, artifact_uri FROM runs"):
        named, found = local_path(location or ""), beside(store, location or "", run_id)
        if named is None or found is None or found == named:
            continue
        tail = found.relative_to(store.parent).parts
        roots[Path(*named.parts[: len(named.parts) - len(tail)])] = store.parent
    return roots


def _replace(
    connection: sqlite3.Connection, table: str, column: str, old: Path, new: Path
) -> None:
    if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
        return
    found = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
    for (location,) in found:
        for before, after in ((old.as_uri(), f"file://{quoted(new)}"), (str(old), str(new))):
            if location and f"{location}/".startswith(f"{before}/"):
                moved = after + location.removeprefix(before)
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (moved, location)
                )
                break
