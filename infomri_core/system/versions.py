"""Which program this is, and on what it stands."""

import platform
from importlib.metadata import version

from infomri_core import __version__


def versions(program: str) -> str:
    """``infomri 0.1.0, Flower .., torch .., Python .., the device``; imports torch."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    stack = f"Flower {version('flwr')}, torch {torch.__version__}"
    return f"{program} {__version__}, {stack}, Python {platform.python_version()}, {device}"
