"""What several jobs ask of their tasks: rounds, arms, values. Each returns quietly or refuses."""

from collections.abc import Mapping

import numpy as np

from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused


def check_round(number: int, plan: Plan) -> None:
    """One of the plan's rounds."""
    rounds = plan.training.rounds
    if not 1 <= number <= rounds:
        raise Refused("bad-task", f"the plan has rounds 1 to {rounds}, not {number}")


def check_last_round(number: int, plan: Plan, what: str) -> None:
    """``what`` leaves after the last round only."""
    check_round(number, plan)
    if number != plan.training.rounds:
        raise Refused("bad-task", f"{what} this site after the last round only")


def check_arms(arms: Arrays, sizes: Mapping[str, int]) -> None:
    """Arms of the plan, of their length (``sizes``), finite."""
    if not arms:
        raise Refused("bad-task", "the task has no arms")
    for name, flat in arms.items():
        if name not in sizes:
            raise Refused("bad-task", "the task has an arm that the plan has not")
        if flat.dtype != np.float32 or flat.shape != (sizes[name],):
            raise Refused(
                "bad-task",
                f"arm {name} must be {sizes[name]} float32 values, not {flat.dtype} {flat.shape}",
            )
        if not np.isfinite(flat).all():
            raise Refused("bad-task", f"the weights of arm {name} are not finite")


def check_masking(plan: Plan, *, masked: bool, wanted: bool | None = None) -> None:
    """Masks where the plan has secure aggregation (or as ``wanted``), and there only."""
    if masked != (plan.aggregation.secure if wanted is None else wanted):
        how = "without masks" if masked else "masked only"
        raise Refused("bad-task", f"by the plan, this leaves the site {how}")
