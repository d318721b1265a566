"""Libraries that only an import needs; they come with the extra ``import``."""

from importlib import import_module
from typing import Any

from infomri_core.system.errors import InputError


def need(module: str) -> Any:
    """The module, imported now; ``InputError`` that names the extra when it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise InputError(
            "imaging files",
            f"the library '{module}'",
            "none installed",
            "install it with `pip install 'infomri-federated[import]'`",
        ) from None
