"""The reconstructors there are, by the name that a plan's ``[model] reconstructor`` gives."""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from infomri_core.system.errors import InputError, nearest

if TYPE_CHECKING:
    from infomri_core.reconstruction.base import Reconstructor

RECONSTRUCTORS = {
    "unet": "infomri_core.reconstruction.unet:UNet",
    "ista-net": "infomri_core.reconstruction.ista_net:ISTANet",
    "puert": "infomri_core.reconstruction.puert:Puert",
    "md-recon": "infomri_core.reconstruction.md_recon:MDRecon",
    "admm-net": "infomri_core.reconstruction.admm_net:ADMMNet",
    "hqs": "infomri_core.reconstruction.hqs:HQS",
    "self-supervised": "infomri_core.reconstruction.self_supervised:SelfSupervised",
    "zero-filled": "infomri_core.reconstruction.fixed:ZeroFilled",
    "hermitian": "infomri_core.reconstruction.fixed:HermitianFilled",
}
"""Where each one's class is; the first is the default."""
DEFAULT = next(iter(RECONSTRUCTORS))


def reconstructor_class(name: str) -> "type[Reconstructor]":
    """The class of a registered reconstructor; '' is the default. ``InputError`` for another."""
    name = name or DEFAULT
    if name not in RECONSTRUCTORS:
        hint = nearest(name, RECONSTRUCTORS) or f"there are {', '.join(RECONSTRUCTORS)}"
        where, expected = "[model] reconstructor", "a registered reconstructor"
        raise InputError(where, expected, repr(name)[:60], hint)
    module, _, attribute = RECONSTRUCTORS[name].partition(":")
    return cast("type[Reconstructor]", getattr(import_module(module), attribute))
