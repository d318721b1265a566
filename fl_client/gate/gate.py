"""The gate: everything that leaves this site passes here, as typed values, checked and recorded.

A reply is compared with the task that asked for it, the plan and the site's policy, made coarse
where the policy says so, written to the ledger, and only then becomes bytes. Limits: the histogram
and the image quality are exact sums over the scored patients, and the weights carry whatever
training put into them, which epsilon bounds where the plan has ``[privacy]``.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from typing import final

from fl_client.gate.context import Check, Context, Rules
from fl_client.memory.ledger import Entry, Ledger
from fl_client.memory.release_memory import ReleaseMemory
from fl_client.policy.limits import check_cohort
from fl_client.settings import Policy
from infomri_core.messages import ErrorReply, SiteReply, SiteTask, reply_from, wire
from infomri_core.system.errors import Refused

MAX_SENTENCE = 400

log = logging.getLogger(__name__)


@final
class Gate:
    """The only maker of bytes for the channel.

    Args:
        policy: The site's limits.
        ledger: Takes a line for each departure before it leaves.
        memory: What k-space left before.
        check_of: Gives how the reply to a task is checked.
    """

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        memory: ReleaseMemory,
        check_of: Callable[[SiteTask], Check],
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._memory = memory
        self._check_of = check_of

    def leave(self, reply: SiteReply, context: Context) -> bytes:
        """The bytes of ``reply``, once it may leave and the ledger says that it does.

        Raises:
            Refused: ``cohort`` when too few patients stand behind it, ``gate`` when it is not what
                the task asked for, ``ledger`` when the departure cannot be recorded.
        """
        check_cohort(context.n_patients, self._policy)
        rules = Rules(self._policy, self._ledger.entries(), self._memory)
        checked = self._check_of(context.task)(reply, context, rules)
        data = self._record(
            checked.reply, dataclasses.replace(context.ledger_entry, **checked.noted)
        )
        if "released" in checked.noted:
            self._memory.mark.move()
        return data

    def repeat(self, reply: bytes, context: Context) -> bytes | None:
        """``reply`` again, if the ledger knows that these very bytes left for this very task."""
        ledger_entry = context.ledger_entry
        digest = hashlib.sha256(reply).hexdigest()
        known = _identity(dataclasses.replace(ledger_entry, sha256=digest))
        first = next((e for e in self._ledger.entries() if _identity(e) == known), None)
        if first is None:
            log.warning("a kept reply is not the one that left: it is made again")
            return None
        self._ledger.append(dataclasses.replace(first, repetition=True))
        return reply

    def mask_again(self, bare: bytes, context: Context) -> bytes | None:
        """What was kept ``bare``, under the task's masks, if the ledger knows that the very same
        left under others for this very question: no row is read for it, and nothing new is said
        of one."""
        asked, mark = context.ledger_entry, bare_mark(bare)
        first = next(
            (e for e in self._ledger.entries() if _asked(e) == _asked(asked) and mark in e.note),
            None,
        )
        if first is None or context.mask is None:
            log.warning("kept scores are not those that left: they are made again")
            return None
        noted = dataclasses.replace(asked, note=first.note, repetition=True)
        return self._record(context.mask(reply_from(wire.decode(bare))), noted)

    def refuse(self, error: ErrorReply, ledger_entry: Entry) -> bytes:
        """The bytes of an error. It leaves even where the ledger cannot be written, because it
        then says just that; the site's log has it in any case."""
        safe = ErrorReply(error.code[:40], error.sentence[:MAX_SENTENCE])
        try:
            return self._record(safe, dataclasses.replace(ledger_entry, note=safe.code))
        except Refused as refusal:
            return wire.encode(ErrorReply(refusal.code, refusal.sentence).to_message())

    def _record(self, reply: SiteReply, ledger_entry: Entry) -> bytes:
        message = reply.to_message()
        data = wire.encode(message)
        digest = hashlib.sha256(data).hexdigest()
        self._ledger.append(
            dataclasses.replace(ledger_entry, kind=message.kind, n_bytes=len(data), sha256=digest)
        )
        return data


def bare_mark(bare: bytes) -> str:
    """How the ledger names what was kept ``bare`` when it left masked."""
    return f"bare {hashlib.sha256(bare).hexdigest()}"


def _asked(entry: Entry) -> tuple[str, str, int, str, str]:
    return (entry.run, entry.job, entry.round, entry.input, entry.data)


def _identity(entry: Entry) -> tuple[str, str, int, str, str]:
    return (entry.run, entry.job, entry.round, entry.input, entry.sha256)
