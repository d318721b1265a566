"""The one Flower bundle (FAB) a site accepts: the code-free one that this package would build."""

import tomllib
import zipfile
from importlib.resources import files
from io import BytesIO
from typing import Any

MAX_BYTES = 2**16
_MANIFEST = ".info/CONTENT"
_PROJECT = "pyproject.toml"


def own_files() -> dict[str, bytes]:
    """The files of the package's own bundle, by name."""
    folder = files("infomri_core") / "app"
    return {
        item.name: item.read_bytes()
        for item in folder.iterdir()
        if item.is_file() and not item.name.startswith(".")
    }


def is_own(bundle: bytes) -> bool:
    """Whether a received FAB says exactly what ours says.

    The zip's bytes depend on the zlib and TOML writer of the machine that built it, so the set
    of files, their contents, and the parsed ``pyproject.toml`` are compared. Nothing is unpacked
    to disk or imported.
    """
    try:
        received = _read(bundle)
        expected = own_files()
        same_project = _project(received.pop(_PROJECT)) == _project(expected.pop(_PROJECT))
    except Exception:
        return False
    received.pop(_MANIFEST, None)
    return same_project and received == expected


def _read(bundle: bytes) -> dict[str, bytes]:
    """Files of a small zip. Raises ``ValueError`` when it is large or names a file twice."""
    if len(bundle) > MAX_BYTES:
        raise ValueError("bundle too large")
    with zipfile.ZipFile(BytesIO(bundle)) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if len(names) != len(entries) or sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise ValueError("bundle malformed")
        return {name: archive.read(name) for name in names}


def _project(text: bytes) -> dict[str, Any]:
    return tomllib.loads(text.decode("utf-8"))
