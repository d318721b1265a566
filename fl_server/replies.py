"""Is an update what was asked for? A site is not trusted to keep the form of its replies."""

import math
from collections.abc import Iterable

from fl_server.privacy import check_epsilon
from infomri_core.errors import InputError
from infomri_core.exchange import TrainReply
from infomri_core.plan import Plan

_LOSS_TERMS = {"ce", "entropy"}


def check_update(plan: Plan, reply: TrainReply, arms: Iterable[str]) -> None:
    """``InputError`` unless ``reply`` has weights for each of the ``arms`` asked for, or drops it,
    names no others, and its epsilon and losses are those of the plan."""
    asked, named = sorted(arms), sorted([*reply.arms, *reply.dropped])
    if named != asked:
        raise InputError("reply", f"arms {asked}", str(named), "update that site")
    check_epsilon(plan, reply)
    for name, terms in reply.losses.items():
        finite = all(math.isfinite(value) for value in terms.values())
        if name not in reply.arms or set(terms) != _LOSS_TERMS or not finite:
            expected = f"finite {' and '.join(sorted(_LOSS_TERMS))} of the arms trained"
            raise InputError("reply: losses", expected, f"{name}: {terms}", "update that site")
