"""How much an attacker knows, by whose images trained the attack: public, insider, same-site.

``unet`` was trained on the study centre's audit set; ``unet@insider`` went on training at the
other sites of the study, never at the one it attacks; ``unet@same-site`` on training patients of
the very site, inside its vault: an upper bound that no one outside can have.
"""

from infomri_core.attacks.base import Attack
from infomri_core.attacks.registry import ATTACKS, attack_class
from infomri_core.plan.plan import Plan

PUBLIC, INSIDER, SAME_SITE = "public", "insider", "same-site"
KNOWLEDGE = (PUBLIC, INSIDER, SAME_SITE)
_TRAINED = {
    PUBLIC: "",
    INSIDER: ", trained further by the other sites",
    SAME_SITE: ", trained on the site's own patients, which no one outside can do",
}


def base_name(name: str) -> str:
    """The attack behind a name, whichever party trained it: ``unet`` of ``unet@insider``."""
    return name.partition("@")[0]


def knowledge(name: str) -> str:
    """Whose images trained it."""
    return name.partition("@")[2] or PUBLIC


def described(name: str) -> str:
    """The attack in words: ``'unet', trained further by the other sites``."""
    return f"'{base_name(name)}'{_TRAINED[knowledge(name)]}"


def adaptable() -> tuple[str, ...]:
    """The attacks that can go on training on other images, the strongest first."""
    ranks = {name: attack_class(name).adapt_rank for name in ATTACKS}
    return tuple(sorted((n for n in ranks if ranks[n]), key=lambda name: -ranks[name]))


def adapted_attack(plan: Plan) -> str | None:
    """The attack of the plan that insiders and sites train further; None where it has none."""
    able = {n: c.adapt_rank for n, c in _classes(plan).items() if c.adapt_rank}
    return max(able, key=lambda name: able[name], default=None)


def insider_attack(plan: Plan) -> str | None:
    """The name under which the insiders' attack is scored; None where the plan asks for none."""
    name = adapted_attack(plan)
    asked = INSIDER in plan.evaluation.adversaries
    return f"{name}@{INSIDER}" if asked and name is not None else None


def same_site_attacks(plan: Plan) -> tuple[str, ...]:
    """The names of the attacks that each site fits on its own training patients."""
    if SAME_SITE not in plan.evaluation.adversaries:
        return ()
    wanted = [name for name, found in _classes(plan).items() if found.linear]
    wanted += [name for name in (adapted_attack(plan),) if name is not None]
    return tuple(f"{name}@{SAME_SITE}" for name in wanted)


def _classes(plan: Plan) -> dict[str, type[Attack]]:
    """The plan's attacks that are registered here."""
    return {n: attack_class(n) for n in plan.evaluation.attacks if n in ATTACKS}
