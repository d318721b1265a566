"""Which program this is, and on what it stands."""

import platform

from infomri_core import __version__


def versions() -> str:
    """``infomri 0.1.0, Flower .., torch .., Python .., the device``; imports all of them."""
    import flwr
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    stack = f"Flower {flwr.__version__}, torch {torch.__version__}"
    return f"infomri {__version__}, {stack}, Python {platform.python_version()}, {device}"
