"""``[policy.must]``: what a site demands of every plan, whatever else the plan asks for."""

import math
from dataclasses import dataclass

from infomri_core.messages.budget import MAX_EPSILON

UNITS = ("patient", "slice")

Problem = tuple[bool, str, str, object]
"""Whether the key is in order, its name, what was expected, what came."""


@dataclass(frozen=True)
class Must:
    """The demands; each is off unless it is set.

    Args:
        secure_aggregation: Updates leave masked.
        min_quorum: Rounds are over at least so many sites.
        evaluation_noise: Scores leave under noise.
        differential_privacy: The weights are protected.
        unit: What they protect, "patient" or "slice", where patient serves both.
        max_epsilon: The largest epsilon of one study.
        max_delta: The largest delta of one study.
        max_attacks: The most different attacks that are scored.
        no_losses: No loss terms leave outside epsilon.
        no_moments: Moments of k-space are not asked for.
        no_release: Releases of k-space are not asked for.
        public_attacks: No attack is trained on any site's patients.
    """

    secure_aggregation: bool = False
    min_quorum: int | None = None
    evaluation_noise: bool = False
    differential_privacy: bool = False
    unit: str = ""
    max_epsilon: float | None = None
    max_delta: float | None = None
    max_attacks: int | None = None
    no_losses: bool = False
    no_moments: bool = False
    no_release: bool = False
    public_attacks: bool = False


def problems(must: Must) -> list[Problem]:
    """What a ``[policy.must]`` has to be, key by key."""
    epsilon, delta = must.max_epsilon, must.max_delta
    return [
        (must.unit in ("", *UNITS), "[policy.must] unit", " or ".join(UNITS), must.unit),
        (
            epsilon is None or (math.isfinite(epsilon) and 0 < epsilon <= MAX_EPSILON),
            "[policy.must] max_epsilon",
            "0 .. 10^6",
            epsilon,
        ),
        (delta is None or 0 < delta < 1, "[policy.must] max_delta", "0 .. 1", delta),
        (_positive(must.min_quorum), "[policy.must] min_quorum", "at least 1", must.min_quorum),
        (_positive(must.max_attacks), "[policy.must] max_attacks", "at least 1", must.max_attacks),
    ]


def _positive(value: int | None) -> bool:
    return value is None or value >= 1
