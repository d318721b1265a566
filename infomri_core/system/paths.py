"""What a person typed or wrote of a path, resolved once: it means the same wherever it is opened.

Apart from the data sets, which load torch: every program that reads settings needs it.
"""

from pathlib import Path
from urllib.parse import quote, unquote

_PATHLESS = ("phantom",)
_PATH_OPTIONS = {"fastmri": ("labels", "files")}


def anchored_uri(text: str, base: Path) -> str:
    """``text`` with its relative paths taken from ``base``: what a person typed at a prompt, or
    wrote into a file, means the same wherever it is opened later. ``~`` is expanded.

    A table that a URI names by an option is looked for in the data folder first; it is anchored
    only where it lies at ``base`` and not there. What is no URI is returned as it is.
    """
    scheme, colon, rest = text.partition(":")
    location, mark, query = rest.partition("?")
    if not colon or not location or scheme in _PATHLESS:
        return text
    folder = base / Path(location).expanduser()
    parts = [_anchored_option(scheme, part, folder, base) for part in query.split("&")]
    return f"{scheme}:{folder}{mark}{'&'.join(parts)}"


def anchored_here(text: str) -> str:
    """A data URI of the command line: its paths are relative to where the person stands."""
    return anchored_uri(text, Path.cwd())


def _anchored_option(scheme: str, part: str, folder: Path, base: Path) -> str:
    key, _, value = part.partition("=")
    if key not in _PATH_OPTIONS.get(scheme, ()):
        return part
    named = Path(unquote(value, errors="surrogateescape")).expanduser()
    if (folder / named).is_file() or not (base / named).is_file():
        return part
    return f"{key}={quote(bytes(base / named), safe='/')}"
