"""What a job is judged by: the approved plan, the task that asked, what it costs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fl_client.gate.ledger import Entry
from fl_client.gate.release_gate import Consent
from infomri_core.data.base import SliceTable
from infomri_core.dp.accounting import Mechanism
from infomri_core.messages import MaskedReply, SiteTask
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Cost:
    """What answering a task costs this site's patients. ``epsilon``: the mechanism that runs on
    them, None without noise; ``inputs``: 1 where the answer depends on what was sent and on
    them, else 0; ``figures``: the most numbers that describe patients in the answer. Weights,
    moments and k-space are no figures: epsilon, or the consent of each patient, limits them.
    ``once``: a study may ask one input only, as its epsilon is for all that the answer says."""

    epsilon: Mechanism | None
    inputs: int
    figures: int
    once: bool = False

    @property
    def free(self) -> bool:
        """Whether no patient is asked about."""
        return self.epsilon is None and self.inputs == 0 and self.figures == 0


@final
@dataclass(frozen=True)
class Context:
    """The approved plan, the task that asked, and the patients behind the reply.
    ``class_patients`` (L,): the smaller of the numbers of patients with and without the finding;
    ``positive_patients`` (L,): those with it. ``departure``: the ledger entry of the reply, but
    for what left; ``consent``: whose k-space a release may hold; ``cost``: what the job costs;
    ``charge``: the ledger entry that says so; ``mask``: puts a reply under its task's masks. Of
    a scoring, ``scored`` are the slices behind it, ``slots`` (n,) their patients' groups, and
    ``noise`` makes what it leaves under, of its digest."""

    site: str
    plan: Plan
    task: SiteTask
    departure: Entry
    n_patients: int
    positive_patients: tuple[int, ...]
    class_patients: tuple[int, ...]
    consent: Consent | None = None
    cost: Cost | None = None
    mask: Callable[[Any], MaskedReply] | None = None
    charge: Entry | None = None
    noise: Callable[..., SecretStream] | None = None
    scored: SliceTable | None = None
    slots: np.ndarray | None = None


def unfit(what: str) -> Refused:
    """The refusal of a reply that must not leave; ``what`` it is stays in the site's log."""
    log.error("the gate held back %s", what)
    return Refused("gate", "the site's gate held the result back; its log says why")
