"""Which program this is, and on what it stands."""

import platform
from importlib.metadata import version

from infomri_core import __version__


def versions(program: str) -> str:
    """``infomri 0.1.0, Flower .., torch .., Python ..``, from the packages' metadata alone."""
    stack = f"Flower {version('flwr')}, torch {version('torch')}"
    return f"{program} {__version__}, {stack}, Python {platform.python_version()}"
