"""Attacks on sampled k-space, one file each, one interface; adding one is adding it here."""

from typing import Any

from infomri_core.attacks.base import Attack, folds
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.floors.diagnosis import DiagnosisFloor
from infomri_core.attacks.floors.prior import Centroid, Constant, Mean, Zero
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.attacks.networks.cnn import CNNAttack
from infomri_core.attacks.networks.pnp import PlugAndPlayAttack
from infomri_core.attacks.networks.unet import UNetAttack
from infomri_core.attacks.networks.unrolled import UnrolledAttack
from infomri_core.attacks.sparse.tv import TVAttack
from infomri_core.attacks.sparse.wavelet import WaveletAttack
from infomri_core.plugins.registry import Registry
from infomri_core.system.errors import InputError, nearest

_FLOORS: tuple[type[Attack], ...] = (Zero, Constant, Mean, Centroid)
_ATTACKS: tuple[type[Attack], ...] = (
    *(LMMSE, TVAttack, WaveletAttack, CNNAttack),
    *(UNetAttack, UnrolledAttack, PlugAndPlayAttack, Ensemble),
)
_CLASSES = {attack.name: attack for attack in (*_FLOORS, *_ATTACKS)}
FLOORS = tuple(attack.name for attack in _FLOORS)
ATTACKS = tuple(attack.name for attack in _ATTACKS)
PLUGINS = Registry("infomri.attacks", {})

__all__ = ["ATTACKS", "FLOORS", "Attack", "DiagnosisFloor", "Ensemble", "build", "folds", "names"]


def names() -> tuple[str, ...]:
    """The attacks that this process may run: the platform's, then those of plug-ins."""
    return (*ATTACKS, *(name for name in PLUGINS if name not in _CLASSES))


def build(name: str, shape: tuple[int, int], **options: Any) -> Attack:
    """A fresh attack of a registered ``name`` for images of ``shape`` (H, W).

    ``options`` go to the attack (``n_steps``, ``batch_size``, ``width`` of the learned ones).
    Raises ``InputError`` for an unknown name.
    """
    if name not in _CLASSES and name in PLUGINS:
        made: Attack = PLUGINS.load(name)(shape, **options)
        return made
    if name not in _CLASSES:
        hint = PLUGINS.hint(name) or nearest(name, _CLASSES) or f"they are {', '.join(_CLASSES)}"
        raise InputError("attack", "a registered name", f"'{name[:40]}'", hint)
    return _CLASSES[name](shape, **options)
