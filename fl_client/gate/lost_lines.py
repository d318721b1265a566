"""What lines that a ledger has lost are counted as: the dearest that they can have been.

Breaking a byte must win no budget. A lost line counts as one charge of every kind that the ledger,
or a plan that was sent here, knows; with none to go by, its epsilon is unbounded. The studies that
the site knew get no more answers, as the ledger cannot tell how often they asked. No k-space is
released any more, as it cannot tell what was.
"""

from collections.abc import Callable, Iterable, Sequence

from fl_client.gate.budget import debit, spent
from fl_client.memory.chain.lines import CHARGE, RECOVERED, Entry
from fl_client.settings import Policy
from infomri_core.dp.accounting import Mechanism, moments_mechanism, round_mechanism
from infomri_core.plan.alone import n_trained
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import evaluation_mechanism
from infomri_core.system.errors import Refused

JOB = "lost"


def charges(
    entries: Sequence[Entry],
    lost: int,
    plans: Iterable[Plan],
    policy: Policy,
    figures: Callable[[Plan], int],
) -> list[Entry]:
    """The charges of ``lost`` lines beside the readable ``entries``: one line for each mechanism,
    the first of them with the figures, of which a plan draws ``figures(plan)`` in all."""
    plans = list(plans)
    mechanisms = sorted({*spent(entries), *(m for plan in plans for m in _mechanisms(plan))})
    known = [int(e.charge["figures"]) for e in entries if e.charge]
    most = max([*known, *map(figures, plans)], default=policy.max_figures)
    made: list[Entry] = []
    for noise, rate, steps in mechanisms or [(0.0, 1.0, 1)]:
        cost = debit((noise, rate, steps * lost), [*entries, *made], policy)
        made.append(_charge(0 if made else most * lost, cost))
    return made


def check_lost(entries: Iterable[Entry], study: str) -> None:
    """Raise ``Refused("ledger")`` for a ``study`` of which a line may be lost."""
    for entry in entries:
        if entry.kind == RECOVERED and study in entry.recovered["closed"]:
            raise Refused(
                "ledger",
                "lines of this site's ledger are lost, of this study perhaps; a plan of another "
                "study name starts again",
            )


def _mechanisms(plan: Plan) -> list[Mechanism]:
    """All that a line of ``plan`` can have charged."""
    made = [evaluation_mechanism(plan)]
    if plan.privacy is not None:
        made.append(round_mechanism(plan.privacy, plan.training.local_steps, n_trained(plan)))
        made.append(None if plan.moments is None else moments_mechanism(plan.moments))
    return [mechanism for mechanism in made if mechanism is not None]


def _charge(figures: int, cost: dict[str, object]) -> Entry:
    return Entry(
        run="",
        job=JOB,
        round=0,
        kind=CHARGE,
        n_bytes=0,
        sha256="",
        note="what lost lines are counted as",
        charge={"inputs": 0, "figures": figures},
        privacy=cost,
    )
