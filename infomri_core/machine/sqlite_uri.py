"""SQLite stores as URIs and back: what a path holds of ``%``, ``?`` and ``#`` is quoted."""

from pathlib import Path
from urllib.parse import quote, unquote

PREFIX = "sqlite:///"


def sqlite_uri(path: Path) -> str:
    """``sqlite:///`` and the path, percent-encoded, as SQLAlchemy decodes it."""
    return PREFIX + quoted(path)


def sqlite_path(uri: str) -> Path | None:
    """The file of a ``sqlite:///`` URI, None for any other."""
    if not uri.startswith(PREFIX):
        return None
    return Path(unquote(uri.removeprefix(PREFIX).partition("?")[0]))


def anchored(uri: str, base: Path) -> str:
    """A ``sqlite:///`` URI of a relative path, from ``base`` on; others as they are."""
    path = sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    return f"{PREFIX}{quoted(base)}/{uri.removeprefix(PREFIX)}"


def quoted(path: Path) -> str:
    """Percent-encoded for a URI, also bytes that are not UTF-8; ``/`` stays."""
    return quote(bytes(path), safe="/")
