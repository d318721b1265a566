"""What makes a plan's evaluation impossible: whose images train its attacks, and its noise."""

from infomri_core.attacks.registry import ATTACKS, ENSEMBLE, attack_class
from infomri_core.plan.adversary_knowledge import (
    INSIDER,
    KNOWLEDGE,
    PUBLIC,
    SAME_SITE,
    adaptable,
    adapted_attack,
)
from infomri_core.plan.plan import Plan

Rule = tuple[bool, str, str, object]
"""Whether it holds, the key, what was expected, what came."""


def masks_scores(plan: Plan) -> bool:
    """Whether the sums of scores leave the sites masked: under secure aggregation, where they are
    one vector under noise. Exact sums over groups (``noise = false``) leave as each site's own."""
    return plan.aggregation.secure and plan.evaluation.noise


def adversary_rules(plan: Plan) -> list[Rule]:
    """Whose images may train the attacks."""
    e, where = plan.evaluation, "[evaluation] adversaries"
    known = set(e.adversaries) <= set(KNOWLEDGE) and len(set(e.adversaries)) == len(e.adversaries)
    insider, steps = INSIDER in e.adversaries, e.adversary_steps
    hidden = "no insider with secure aggregation: it needs what each site's update says"
    outside = "no insider or same-site with [privacy]: what they learn stands outside epsilon"
    learning = plan.privacy is not None and not {INSIDER, SAME_SITE}.isdisjoint(e.adversaries)
    trained = f"one that can be trained further: {', '.join(adaptable())}" if insider else ""
    return [
        (
            known and PUBLIC in e.adversaries,
            where,
            f"public, and others of {', '.join(KNOWLEDGE)}",
            e.adversaries,
        ),
        (not (insider and plan.aggregation.secure), where, hidden, e.adversaries),
        (not learning, where, outside, e.adversaries),
        (not insider or adapted_attack(plan) is not None, where, trained, e.attacks),
        (1 <= steps <= 10**6, "[evaluation] adversary_steps", "1 .. 10^6", steps),
        (1 <= e.insider_rounds <= 5, "[evaluation] insider_rounds", "1 .. 5", e.insider_rounds),
    ]


def attack_rules(plan: Plan) -> list[Rule]:
    """Which attacks are fitted: registered ones that serve the task."""
    e, where = plan.evaluation, "[evaluation] attacks"
    known = [name for name in e.attacks if name in ATTACKS]
    unfit = [name for name in known if not attack_class(name).serves(plan.task)]
    served = "attacks that need no labels: this task has no classes"
    return [
        (
            len(e.attacks) == len(set(known)),
            where,
            f"distinct names out of {', '.join(ATTACKS)}",
            e.attacks,
        ),
        (
            ENSEMBLE not in e.attacks or len(e.attacks) > 2,
            where,
            "two others for the ensemble to average",
            e.attacks,
        ),
        (not unfit, where, served, ", ".join(unfit)),
    ]


def noise_rules(plan: Plan) -> list[Rule]:
    """What the noise of scores may be, and what it cannot bound."""
    e, where = plan.evaluation, "[evaluation]"
    unbounded = "no same-site with noise = true: its figures speak of training patients, too"
    alone = not (e.noise and SAME_SITE in e.adversaries)
    bare = plan.aggregation.secure and not e.noise and any(arm.alone for arm in plan.arms)
    hidden = "no arm alone with secure = true and noise = false: exact scores of what one site"
    return [
        (0.1 <= e.epsilon <= 1e3, f"{where} epsilon", "0.1 .. 1000", e.epsilon),
        (1e-12 <= e.delta <= 0.01, f"{where} delta", "1e-12 .. 0.01", e.delta),
        (0 < e.clip_db <= 50, f"{where} clip_db", "0 < clip_db <= 50 dB", e.clip_db),
        (alone, f"{where} adversaries", unbounded, e.adversaries),
        (not bare, "[[arms]] alone", f"{hidden} trained say what the masks hide", "true"),
    ]
