"""What a reply is judged by before it leaves."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from fl_client.ledger import Entry
from fl_client.release_gate import Consent
from infomri_core.data.base import SliceTable
from infomri_core.errors import Refused
from infomri_core.exchange import MaskedReply, SiteTask, TrainReply
from infomri_core.plan import Plan
from infomri_core.privacy.accounting import Mechanism
from infomri_core.privacy.secret_stream import SecretStream

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Context:
    """The approved plan, the task that asked, and the patients behind the reply.
    ``class_patients`` (L,): the smaller of the numbers of patients with and without the finding;
    ``positive_patients`` (L,): those with it. ``departure``: the ledger entry of the reply, but
    for what left; ``consent``: whose k-space a release may hold; ``cost``: what the job does to
    the privacy budget; ``mask``: puts an update under the masks of its task. Of a scoring,
    ``scored`` are the slices behind it, ``slots`` (n,) their patients' groups, and ``noise`` makes
    what it leaves under, of its digest."""

    site: str
    plan: Plan
    task: SiteTask
    departure: Entry
    n_patients: int
    positive_patients: tuple[int, ...]
    class_patients: tuple[int, ...]
    consent: Consent | None = None
    cost: Mechanism | None = None
    mask: Callable[[TrainReply], MaskedReply] | None = None
    noise: Callable[..., SecretStream] | None = None
    scored: SliceTable | None = None
    slots: np.ndarray | None = None


def unfit(what: str) -> Refused:
    """The refusal of a reply that must not leave; ``what`` it is stays in the site's log."""
    log.error("the gate held back %s", what)
    return Refused("gate", "the site's gate held the result back; its log says why")
