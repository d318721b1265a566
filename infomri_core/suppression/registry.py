"""The suppressions by name."""

from collections.abc import Iterable

from torch import Tensor

from infomri_core.plugins.registry import Registry
from infomri_core.suppression.base import Suppression
from infomri_core.suppression.joint import (
    AttackQuality,
    GaussianSuppression,
    JointInformation,
)
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.system.errors import InputError

SUPPRESSIONS: dict[str, type[Suppression]] = {
    kind.name: kind for kind in (MarginalEntropy, JointInformation, AttackQuality)
}
PLUGINS = Registry("infomri.suppressions", {})
RANK = 32
"""Leading factors of the audit set's covariance that sites are sent."""


def build_suppression(
    kind: str, variance: Tensor, factors: Tensor | None, noise_std: float
) -> Suppression:
    """The suppression of that name; of an arm without one (``none``) the marginal entropy, which
    is then only reported. Raises ``InputError`` where ``factors`` (q, H, W) are needed and none.
    """
    found = _class(kind)
    if not issubclass(found, GaussianSuppression):
        made: Suppression = found(variance, noise_std)  # type: ignore[call-arg, arg-type]
        return made
    if factors is None:
        remedy = "send them with the task: the study centre has them of its audit set"
        raise InputError(f"suppression '{kind}'", "factors of the covariance", "none", remedy)
    return found(variance, factors, noise_std)


def needs_factors(kinds: Iterable[str]) -> bool:
    """Whether one of these suppressions needs factors of the audit set's covariance."""
    return any(issubclass(_class(kind), GaussianSuppression) for kind in kinds)


def _class(kind: str) -> type[Suppression]:
    if kind not in SUPPRESSIONS and kind in PLUGINS:
        found: type[Suppression] = PLUGINS.load(kind)
        return found
    return SUPPRESSIONS.get(kind, MarginalEntropy)
