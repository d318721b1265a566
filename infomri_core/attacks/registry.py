"""The attacks there are, by the name that a plan gives them; a new one is added here."""

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from infomri_core.plugins.registry import Registry
from infomri_core.system.errors import InputError, nearest

if TYPE_CHECKING:
    from infomri_core.attacks.base import Attack, Style

_ROOM = "infomri_core.attacks"
ATTACKS = Registry(
    "infomri.attacks",
    {
        "lmmse": f"{_ROOM}.linear.lmmse:LMMSE",
        "tv": f"{_ROOM}.sparse.tv:TVAttack",
        "wavelet": f"{_ROOM}.sparse.wavelet:WaveletAttack",
        "cnn": f"{_ROOM}.networks.cnn:CNNAttack",
        "unet": f"{_ROOM}.networks.unet:UNetAttack",
        "unrolled": f"{_ROOM}.networks.unrolled:UnrolledAttack",
        "pnp": f"{_ROOM}.networks.pnp:PlugAndPlayAttack",
        "ensemble": f"{_ROOM}.ensemble:Ensemble",
    },
)
"""Where each attack that a plan may name is."""
FLOORS = ("zero", "constant", "mean", "centroid")
"""Answers without a measurement (:mod:`infomri_core.attacks.floors.prior`): in every audit."""
REFERENCE = "lmmse"
"""The attack that certifies the others."""
ENSEMBLE = "ensemble"
"""The attack that averages the others."""


def attack_class(name: str) -> "type[Attack]":
    """The class of a registered attack or a floor. ``InputError`` for any other name."""
    if name in FLOORS:
        from infomri_core.attacks.floors.prior import FLOOR_CLASSES

        return FLOOR_CLASSES[name]
    if name not in ATTACKS:
        known = (*FLOORS, *ATTACKS)
        hint = ATTACKS.hint(name) or nearest(name, known) or f"they are {', '.join(known)}"
        raise InputError("attack", "a registered name", f"'{name[:40]}'", hint)
    return cast("type[Attack]", ATTACKS.load(name))


def build(name: str, shape: tuple[int, int], **options: Any) -> "Attack":
    """A fresh attack of a registered ``name`` for images of ``shape`` (H, W).

    ``options`` are its own (``n_steps``, ``batch_size``, ``width`` of the learned ones). Raises
    ``InputError`` for an unknown name or option.
    """
    return attack_class(name)(shape, **options)


def takes_steps(name: str) -> bool:
    """Whether the attack is trained by optimizer steps (its option ``n_steps``)."""
    return any(f.name == "n_steps" for f in dataclasses.fields(attack_class(name).options_class))


def title_of(name: str) -> str:
    """What the attack does, for people; '' for one that is not registered."""
    return attack_class(name).title if name in ATTACKS else ""


def style_of(name: str) -> "Style":
    """How the attack is drawn, whichever party trained it; one that is not registered, in grey."""
    from infomri_core.attacks.base import Style

    known = name.partition("@")[0]
    return attack_class(known).style if known in ATTACKS else Style()
