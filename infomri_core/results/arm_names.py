"""One name for people of each arm, made here alone, and understood beside the technical one."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from infomri_core.sampling.registry import learns, title_of

_ALONE, _CENTRAL = "-alone", "-central"
_NUMBER = re.compile(r"(?:(?<=[=βba])-)?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|(?<=-)inf\b)")


class Described(Protocol):
    """What tells an arm from others: a plan's arm, or a row of results."""

    @property
    def sampler(self) -> str:
        """Its sampler's name in plans."""

    @property
    def suppression(self) -> str:
        """Its suppression's name in plans."""

    @property
    def beta(self) -> float:
        """Its suppression strength."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def psnr_target(self) -> float | None:
        """The PSNR in dB that it is held to, in place of beta."""


def alone_name(arm: str) -> str:
    """What the second training of an arm is called in scores, rows and MLflow."""
    return arm + _ALONE


def central_name(arm: str) -> str:
    """What an arm is called that was trained on all sites' data in one place."""
    return arm + _CENTRAL


def federated_name(name: str) -> str:
    """The plan's arm behind a name, which may be that of another training of it."""
    return name.removesuffix(_ALONE).removesuffix(_CENTRAL)


def beta_label(beta: float) -> str:
    """Beta for a plot, short, since points lie close together: β=3e-4, β=-inf."""
    mantissa, mark, exponent = f"{beta:.3g}".partition("e")
    if not mark and 0 < abs(beta) < 1e-3:
        mantissa, mark, exponent = f"{beta:.0e}".partition("e")
    return f"β={mantissa}" + (f"e{int(exponent)}" if mark else "")


def strength_label(arm: Described) -> str:
    """The same, or the target in dB that takes beta's place."""
    return beta_label(arm.beta) if arm.psnr_target is None else f"{arm.psnr_target:g} dB"


def display_names(arms: Mapping[str, Described]) -> dict[str, str]:
    """A name of each arm for people, by its technical name; no two are the same.

    A name says what the study needs to tell its arms apart: the sampler, beta where arms of the
    sampler have one, then suppression and seed, and the technical name where nothing else differs.
    """
    weighed = {arm.sampler for arm in arms.values() if arm.suppression != "none" or _weighs(arm)}
    weighed |= {arm.sampler for arm in arms.values() if learns(arm.sampler)}
    names = {name: _first(arm, arm.sampler in weighed) for name, arm in arms.items()}
    names = _told_apart(names, {name: arm.suppression for name, arm in arms.items()})
    names = _told_apart(names, {name: f"seed {arm.seed}" for name, arm in arms.items()})
    alike = _repeated(names.values())
    return {name: name if shown in alike else shown for name, shown in names.items()}


def technical_name(text: str, arms: Mapping[str, Described]) -> str:
    """The technical name of the arm that ``text`` names, by either name; ``text`` itself where
    there is none. Upper case, blanks, ``β`` or ``beta`` and the form of a number don't matter."""
    if text in arms:
        return text
    wanted = _normal(text)
    found = [name for name, shown in display_names(arms).items() if _normal(shown) == wanted]
    return found[0] if len(found) == 1 else text


def _first(arm: Described, weighed: bool) -> str:
    title = title_of(arm.sampler)
    if arm.psnr_target is not None:
        return f"{title} to {arm.psnr_target:g} dB"
    return f"{title} β={arm.beta:g}" if weighed else title


def _weighs(arm: Described) -> bool:
    """Whether beta is a number that arms of the sampler differ by: the image alone is none."""
    return math.isfinite(arm.beta) and arm.beta != 0


def _told_apart(names: Mapping[str, str], details: Mapping[str, str]) -> dict[str, str]:
    """Names that occur more than once with a detail more, where that differs among them."""
    made = dict(names)
    for shown in _repeated(names.values()):
        alike = [name for name in names if names[name] == shown]
        if len({details[name] for name in alike}) > 1:
            made |= {name: f"{shown}, {details[name]}" for name in alike}
    return made


def _repeated(names: Iterable[str]) -> set[str]:
    seen, repeated = set[str](), set[str]()
    for name in names:
        (repeated if name in seen else seen).add(name)
    return repeated


def _normal(text: str) -> str:
    text = _NUMBER.sub(_number, re.sub(r"\s+", "", text.casefold()))
    text = re.sub(r"[_,=-]+", "", text)
    return text.replace("beta", "β")


def _number(found: re.Match[str]) -> str:
    value = float(found.group())
    return f"<{'minus' if value < 0 else ''}{abs(value):g}>"
