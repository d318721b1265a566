"""How many figures have been drawn from this site's patients, and how many may be.

A figure is a number that describes patients and leaves: a count, a mean, a bin of a histogram, a
loss. Enough of them solve for single patients, whichever plans and inputs they came from (Dinur
and Nissim 2003), so they are counted over all of these, and over all states of the data.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from fl_client.memory.ledger import CHARGE, Entry, dated
from fl_client.memory.study import of_study
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused

_BYTES_A_FIGURE = 8
_COUNTED = ("card", "evaluated")

log = logging.getLogger(__name__)


def drawn(entries: Iterable[Entry], days: float, now: datetime | None = None) -> int:
    """Figures charged in the last ``days``. A reply that left before figures were charged counts
    by its size, eight bytes a figure. A line is as old as the newest before it: a clock that was
    set back for a while makes nothing old."""
    start = (now or datetime.now(UTC)) - timedelta(days=days)
    recent = [entry for entry, at in dated(entries) if at >= start]
    charged = {_question(e) for e in recent if e.kind == CHARGE}
    older = [e for e in recent if e.kind in _COUNTED and not e.repetition]
    return sum(int(e.charge["figures"]) for e in recent if e.kind == CHARGE) + sum(
        e.n_bytes // _BYTES_A_FIGURE for e in older if _question(e) not in charged
    )


def check_figures(cost: Cost, entries: Iterable[Entry], policy: Policy) -> None:
    """Raise ``Refused("figures")`` for a job that would pass the site's limit."""
    before = drawn(entries, policy.figure_days)
    if cost.figures and before + cost.figures > policy.max_figures:
        log.warning(
            "%d figures were drawn in %g days, %d more are asked for, [policy] max_figures is %d",
            *(before, policy.figure_days, cost.figures, policy.max_figures),
        )
        raise Refused("figures", "the job would pass this site's limit on figures, max_figures")


def check_whole_study(plan: Plan, figures: int, entries: Sequence[Entry], policy: Policy) -> None:
    """Raise ``Refused("figures")`` at enrolment of a study that cannot draw all its ``figures``:
    better than after its training."""
    left = left_to_draw(plan, figures, entries, policy)
    check_figures(Cost(epsilon=None, inputs=0, figures=left), entries, policy)


def left_to_draw(plan: Plan, figures: int, entries: Iterable[Entry], policy: Policy) -> int:
    """What is still to come of a study that draws ``figures`` in all."""
    return max(0, figures - drawn(of_study(entries, plan), policy.figure_days))


def _question(entry: Entry) -> tuple[str, str, str, str]:
    return (entry.run, entry.job, entry.input, entry.data)
