"""The suppressions by name."""

from collections.abc import Iterable

from torch import Tensor

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
RANK = 32
"""Leading factors of the audit set's covariance that sites are sent."""


def build_suppression(
    kind: str, variance: Tensor, factors: Tensor | None, noise_std: float
) -> Suppression:
    """The suppression of that name; of an arm without one (``none``) the marginal entropy, which
    is then only reported. Raises ``InputError`` where ``factors`` (q, H, W) are needed and none.
    """
    if not needs_factors([kind]):
        return MarginalEntropy(variance, noise_std)
    found = SUPPRESSIONS[kind]
    assert issubclass(found, GaussianSuppression)
    if factors is None:
        remedy = "send them with the task: the study centre has them of its audit set"
        raise InputError(f"suppression '{kind}'", "factors of the covariance", "none", remedy)
    return found(variance, factors, noise_std)


def needs_factors(kinds: Iterable[str]) -> bool:
    """Whether one of these suppressions needs factors of the audit set's covariance."""
    return any(
        issubclass(SUPPRESSIONS.get(k, MarginalEntropy), GaussianSuppression) for k in kinds
    )
