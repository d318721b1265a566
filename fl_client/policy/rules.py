"""The site's rules about plans, one registry: the vault refuses by it, ``plan show`` reads it out.

A rule is a line of :data:`RULES`; what a plan is held against is :class:`PlanDemand`. To add
one, add its key to :class:`~fl_client.settings.Policy` or :class:`~fl_client.must.Must`, and its
line here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

from fl_client.settings import Policy
from infomri_core.dp.accounting import study_epsilon
from infomri_core.plan.adversary_knowledge import PUBLIC
from infomri_core.plan.alone import n_trained
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError, Refused
from infomri_core.system.words import counted


@final
@dataclass(frozen=True)
class Verdict:
    """One rule held against one plan. ``site``: what the site says; ``plan``: what the plan asks
    for; ``holds``: whether the plan keeps it."""

    name: str
    site: str
    plan: str
    holds: bool

    @property
    def sentence(self) -> str:
        """Why the plan is refused, as it may leave the site."""
        return f"rule {self.name} of this site: {self.site}; the plan has {self.plan}"

    def require(self, where: str) -> None:
        """Raise ``InputError`` where the rule is broken: the vault would refuse the plan, so
        no one may approve it."""
        if self.holds is False:
            remedy = "decline it with a reason, or change the rule in site.toml"
            raise InputError(where, f"{self.site} (rule {self.name})", self.plan, remedy)


@final
@dataclass(frozen=True)
class PlanDemand:
    """A plan, and what follows from it."""

    plan: Plan

    @property
    def epsilon(self) -> float:
        """Epsilon of the whole study, at the plan's delta; infinite without ``[privacy]``."""
        found = study_epsilon(self.plan, n_trained(self.plan), self.plan.training.rounds)
        return math.inf if found is None else found


@final
@dataclass(frozen=True)
class Rule:
    """``name``: the key in ``[policy]``. ``wants``: the site's value, None or False where it has
    no such rule; ``asks``: the plan's, None where it cannot be told. ``phrase``: the rule in
    words, with the site's value for ``{}``; ``told``: the plan's value in words."""

    name: str
    wants: Callable[[Policy], Any]
    asks: Callable[[PlanDemand], Any]
    allows: Callable[[Any, Any], bool]
    phrase: str
    told: Callable[[Any], str]

    def judge(self, policy: Policy, asked: PlanDemand) -> Verdict | None:
        """The verdict on a plan; None where the site has no such rule."""
        wanted = self.wants(policy)
        if wanted is None or wanted is False or wanted == "":
            return None
        value = self.asks(asked)
        phrase = self.phrase.format(f"{wanted:g}" if isinstance(wanted, float) else wanted)
        return Verdict(self.name, phrase, self.told(value), self.allows(value, wanted))


def _at_most(name: str, what: str, asks: Callable[[Plan], int]) -> Rule:
    """A number of the plan, ``what`` in the singular, that ``[policy] name`` limits."""
    return Rule(
        name,
        lambda policy: getattr(policy, name),
        lambda asked: asks(asked.plan),
        lambda value, limit: value <= limit,
        f"at most {{}} {what}s",
        lambda value: counted(value, what),
    )


def _must(name: str, phrase: str, asks: Callable[[Plan], bool], otherwise: str, kept: str) -> Rule:
    """A demand of ``[policy.must]`` that is on or off."""
    return Rule(
        f"must.{name}",
        lambda policy: getattr(policy.must, name),
        lambda asked: asks(asked.plan),
        lambda value, _: bool(value),
        phrase,
        lambda value: kept if value else otherwise,
    )


def _epsilon_words(value: float) -> str:
    if math.isinf(value):
        return "no bound on epsilon"
    return f"epsilon {math.ceil(value * 100) / 100:.2f}"


def _unit_kept(unit: str, wanted: str) -> bool:
    return unit == "patient" or unit == wanted


RULES: tuple[Rule, ...] = (
    _at_most("max_rounds", "round", lambda plan: plan.training.rounds),
    _at_most("max_local_steps", "local step", lambda plan: plan.training.local_steps),
    _at_most("max_local_steps", "adversary step", lambda plan: plan.evaluation.adversary_steps),
    _at_most("max_arms", "arm", n_trained),
    Rule(
        "max_rate",
        lambda policy: policy.max_rate,
        lambda asked: asked.plan.privacy.rate if asked.plan.privacy else 0.0,
        lambda value, limit: value <= limit,
        "a sampling rate of at most {}",
        lambda value: f"a sampling rate of {value:g}",
    ),
    _at_most("max_width", "base channel", lambda plan: plan.model.width),
    Rule(
        "image_arms",
        lambda policy: not policy.image_arms,
        lambda asked: [arm.name for arm in asked.plan.arms if arm.asks_for_images],
        lambda names, _: not names,
        "no arm that asks for images",
        lambda names: f"{', '.join(names)}, trained to rebuild images" if names else "none",
    ),
    _must(
        "secure_aggregation",
        "updates under secure aggregation",
        lambda plan: plan.aggregation.secure,
        "updates in the clear",
        "secure aggregation",
    ),
    _must(
        "evaluation_noise",
        "scores under noise",
        lambda plan: plan.evaluation.noise,
        "scores without noise",
        "noise",
    ),
    Rule(
        "must.min_quorum",
        lambda policy: policy.must.min_quorum,
        lambda asked: asked.plan.training.quorum,
        lambda value, limit: value >= limit,
        "a quorum of at least {} sites",
        lambda value: f"a quorum of {value}",
    ),
    _must(
        "differential_privacy",
        "weights with differential privacy",
        lambda plan: plan.privacy is not None,
        "none",
        "differential privacy",
    ),
    Rule(
        "must.unit",
        lambda policy: policy.must.unit,
        lambda asked: asked.plan.privacy.unit if asked.plan.privacy else "nobody",
        _unit_kept,
        "differential privacy of each {}",
        lambda unit: f"that of {'each ' if unit != 'nobody' else ''}{unit}",
    ),
    Rule(
        "must.max_epsilon",
        lambda policy: policy.must.max_epsilon,
        lambda asked: asked.epsilon,
        lambda value, limit: value <= limit,
        "epsilon of a study at most {}",
        _epsilon_words,
    ),
    Rule(
        "must.max_delta",
        lambda policy: policy.must.max_delta,
        lambda asked: asked.plan.privacy.delta if asked.plan.privacy else 1.0,
        lambda value, limit: value <= limit,
        "delta at most {}",
        lambda value: f"delta {value:g}",
    ),
    Rule(
        "must.max_attacks",
        lambda policy: policy.must.max_attacks,
        lambda asked: len(asked.plan.evaluation.attacks),
        lambda value, limit: value <= limit,
        "at most {} attacks",
        lambda value: counted(value, "attack"),
    ),
    _must(
        "no_losses",
        "no loss terms outside epsilon",
        lambda plan: plan.privacy is not None and not plan.privacy.losses,
        "loss terms that leave",
        "none",
    ),
    _must(
        "no_moments",
        "no moments of k-space",
        lambda plan: plan.moments is None,
        "moments of k-space",
        "none",
    ),
    _must(
        "no_release",
        "no release of k-space",
        lambda plan: plan.release is None,
        "a release of k-space",
        "none",
    ),
    _must(
        "public_attacks",
        "no attack trained on any site's patients",
        lambda plan: set(plan.evaluation.adversaries) <= {PUBLIC},
        "attacks trained at the sites",
        "none",
    ),
)


def verdicts(plan: Plan, policy: Policy) -> Iterator[Verdict]:
    """``plan`` against every rule that the site has, in the registry's order."""
    asked = PlanDemand(plan)
    for rule in RULES:
        verdict = rule.judge(policy, asked)
        if verdict is not None:
            yield verdict


def check_rules(plan: Plan, policy: Policy) -> None:
    """Raise ``Refused("policy")`` for the first rule that ``plan`` breaks, naming it."""
    for verdict in verdicts(plan, policy):
        if verdict.holds is False:
            raise Refused("policy", verdict.sentence)
