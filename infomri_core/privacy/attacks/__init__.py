"""Attacks on sampled k-space, one file each, one interface; adding one is adding it here."""

from typing import Any

from infomri_core.errors import InputError, nearest
from infomri_core.privacy.attacks.base import Attack, folds
from infomri_core.privacy.attacks.cnn import CNNAttack
from infomri_core.privacy.attacks.diagnosis import DiagnosisFloor
from infomri_core.privacy.attacks.floors import Constant, Mean, Zero
from infomri_core.privacy.attacks.lmmse import LMMSE
from infomri_core.privacy.attacks.unet import UNetAttack

_CLASSES: dict[str, type[Attack]] = {
    attack.name: attack for attack in (Zero, Constant, Mean, LMMSE, CNNAttack, UNetAttack)
}
FLOORS = ("zero", "constant", "mean")
ATTACKS = tuple(name for name in _CLASSES if name not in FLOORS)

__all__ = ["ATTACKS", "FLOORS", "Attack", "DiagnosisFloor", "build", "folds"]


def build(name: str, shape: tuple[int, int], **options: Any) -> Attack:
    """A fresh attack of a registered ``name`` for images of ``shape`` (H, W).

    ``options`` go to the attack (``n_steps``, ``batch_size``, ``width`` of the learned ones).
    Raises ``InputError`` for an unknown name.
    """
    if name not in _CLASSES:
        hint = nearest(name, _CLASSES) or f"they are {', '.join(_CLASSES)}"
        raise InputError("attack", "a registered name", f"'{name[:40]}'", hint)
    return _CLASSES[name](shape, **options)
