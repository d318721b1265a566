"""The suppressions there are, by the name that a plan's arm has; a new one is added here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from infomri_core.plugins.registry import Registry
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from infomri_core.suppression.base import Penalty

_ROOM = "infomri_core.suppression"
SUPPRESSIONS = Registry(
    "infomri.suppressions",
    {
        "marginal": f"{_ROOM}.marginal:MarginalEntropy",
        "joint": f"{_ROOM}.joint:JointInformation",
        "attack": f"{_ROOM}.joint:AttackQuality",
        "adversarial": f"{_ROOM}.adversarial:AdversarialQuality",
    },
)
"""Where each suppression is."""
RANK = 32
"""Leading factors of the audit set's covariance that sites are sent."""


def suppression_class(name: str) -> "type[Penalty]":
    """The suppression of that name; of an arm without one (``none``) the marginal entropy, which
    is then only reported."""
    found = SUPPRESSIONS.load(name if name in SUPPRESSIONS else "marginal")
    return cast("type[Penalty]", found)


def build_suppression(
    kind: str, variance: "Tensor", factors: "Tensor | None", noise_std: float
) -> "Penalty":
    """A suppression of :func:`suppression_class` for k-space of ``variance`` (2, H, W).

    Raises ``InputError`` where ``factors`` (q, H, W) are needed and none.
    """
    found: Any = suppression_class(kind)
    made: Penalty
    if not found.needs_factors:
        made = found(variance, noise_std)
        return made
    if factors is None:
        remedy = "send them with the task: the study centre has them of its audit set"
        raise InputError(f"suppression '{kind}'", "factors of the covariance", "none", remedy)
    made = found(variance, factors, noise_std)
    return made


def of_masks(kind: str) -> bool:
    """Whether that suppression (or none) is a figure of masks alone, and so of no patient."""
    return not suppression_class(kind).of_images


def needs_factors(kinds: Iterable[str]) -> bool:
    """Whether one of these suppressions needs factors of the audit set's covariance."""
    return any(suppression_class(kind).needs_factors for kind in kinds)
