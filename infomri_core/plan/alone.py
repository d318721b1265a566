"""Arms that each site trains a second time, by itself: what federation is held against."""

from collections.abc import Iterable
from dataclasses import replace

from infomri_core.plan.plan import Arm, Plan


def alone_arms(plan: Plan, names: Iterable[str] | None = None) -> tuple[Arm, ...]:
    """The arms, of these ``names`` or of all, that sites also train by themselves."""
    asked = None if names is None else set(names)
    return tuple(a for a in plan.arms if a.alone and (asked is None or a.name in asked))


def without_alone(plan: Plan) -> Plan:
    """The same plan where no one trains by himself: there is one site, or none is trained. Its
    text, and so its identity, stays."""
    return by_itself(replace(plan, arms=tuple(replace(arm, alone=False) for arm in plan.arms)))


def by_itself(plan: Plan) -> Plan:
    """The same plan for weights that are never averaged: no rate for many sites that step
    together, and no momentum but their own. Its text, and so its identity, stays."""
    return replace(
        plan,
        training=replace(plan.training, momentum="local"),
        aggregation=replace(plan.aggregation, rate_scale=1.0),
    )


def n_trained(plan: Plan, names: Iterable[str] | None = None) -> int:
    """How often a site trains: once an arm, and again where it does so by itself."""
    asked = [arm.name for arm in plan.arms] if names is None else list(names)
    return len(asked) + len(alone_arms(plan, asked))
