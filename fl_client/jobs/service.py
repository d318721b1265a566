"""From a message to the bytes of its answer: decode, look up, admit, charge, run, check, send.

Whatever comes in, an answer goes out: a result that passed the gate, or an error of a code and a
safe sentence. The text of an exception stays in the site's own log. Once a job was charged it may
have read the data: then what went wrong, and when, is no one's business (:mod:`.failure`).
"""

import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

from fl_client.gate import budget, gate
from fl_client.gate.cohort import count_known, count_patients
from fl_client.gate.context import Context
from fl_client.gate.lost_lines import check_lost
from fl_client.jobs import failure
from fl_client.jobs.declaration import Job, Premises, SiteJobs
from fl_client.jobs.questions import (
    UNREAD,
    header_entry,
    ledger_entry_of,
    question_in,
    reply_key,
)
from fl_client.jobs.registry import check_of, job_named, plan_figures
from fl_client.memory.high_water_mark import HighWaterMark
from fl_client.memory.ledger import CHARGE, Entry, Ledger
from fl_client.memory.masking import Sessions
from fl_client.memory.release_memory import ReleaseMemory
from fl_client.memory.reply_cache import ReplyCache
from fl_client.memory.study import of_study
from fl_client.policy import enrolment, limits
from fl_client.policy.cost import Cost
from fl_client.policy.decisions import check_decisions
from fl_client.policy.figures import check_figures, check_whole_study
from fl_client.policy.seen_plans import SeenPlans
from fl_client.settings import SiteSettings
from fl_client.sockets.status import PING, PONG, VaultStatus, tally
from infomri_core.data.base import SliceTable
from infomri_core.data.fingerprint import fingerprint
from infomri_core.messages import (
    EnrolTask,
    EvaluateTask,
    SiteTask,
    task_from,
    time_in,
    wire,
)
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import Cancelled, InputError, Refused

log = logging.getLogger(__name__)


@dataclass
class _Turn:
    """A message's turn: whose it is, as far as it is read, when it was charged, and when its time
    is up (Unix time)."""

    ledger_entry: Entry = UNREAD
    charged: float | None = None
    end: float = math.inf


@final
class Jobs:
    """Runs one job at a time on ``site``, whose slices are described by ``table``.

    ``stopping`` tells that the vault is to end; running work is then cancelled between two steps,
    as it is when the deadline of the task has passed on ``clock`` (Unix time). ``data_path``:
    where the data lie, if anywhere. ``wait(until)`` returns at that time, or when stopping.
    """

    def __init__(
        self,
        settings: SiteSettings,
        site: SiteJobs,
        table: SliceTable,
        ledger: Ledger,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        data_path: str = "",
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._name = settings.site.name
        self._seen = SeenPlans.of(settings)
        self._policy = settings.policy
        self._data_path = data_path
        self._enrolments = settings.vault.state / enrolment.NAME
        self._ledger = ledger
        self._mark = HighWaterMark(ledger, settings.vault.state / "released.json")
        memory = ReleaseMemory(ledger, self._mark, settings.policy.max_released_fraction)
        self._gate = gate.Gate(settings.policy, ledger, memory, check_of)
        self._cache = ReplyCache(settings.vault.state / "replies", settings.policy.cached_replies)
        sessions = Sessions(settings.site.name, settings.secure)
        self._premises = Premises(site, table, settings.policy, sessions, ledger.entries)
        self._stopping = stopping
        self._clock = clock
        self._wait = wait or failure.waiter(clock, stopping)
        self._lock = threading.Lock()

    def status(self) -> VaultStatus:
        """For the site's own tools: whether a job runs now, and what has left."""
        busy, left = self._lock.locked(), tally(self._ledger.entries())
        return VaultStatus(self._name, busy, left, self._ledger.sound())

    def handle(self, data: bytes) -> bytes:
        """The answer to a message. Never raises."""
        turn, started = _Turn(), time.monotonic()
        try:
            head = wire.peek(data)
            if head.kind == PING.kind:
                return wire.encode(PONG)
            turn.ledger_entry = header_entry(head)
            with self._turn(head, turn) as cancelled:
                outcome, reply = self._answer(data, head, turn, cancelled)
            _report(turn.ledger_entry, outcome, started, len(reply))
            return reply
        except Exception as exception:
            error = failure.told(exception, self._stopping(), turn.charged is not None)
        _report(turn.ledger_entry, f"refused ({error.code}: {error.sentence})", started)
        return self._gate.refuse(error, turn.ledger_entry)

    def _answer(
        self, data: bytes, head: wire.Message, turn: _Turn, cancelled: Callable[[], bool]
    ) -> tuple[str, bytes]:
        """The vault's whole path, but for the wait of what failed."""
        self._ledger.check()
        job = job_named(head.kind)
        plan = self._approved(head, job, len(data))
        task = task_from(wire.decode(data))
        context = self._admitted(job, plan, task, turn)
        key = reply_key(context, self._policy)
        again = self._again(job, key, context)
        if again is not None:
            return "repeated", again
        job.ready(context, self._premises)
        context, again = self._unmasked(job, context)
        if again is not None:
            return "repeated under other masks", again
        context = self._charged(job, context, turn)
        reply = job.run(context, self._premises, cancelled)
        answer = self._gate.leave(reply, context)
        if job.kept:
            self._cache.put(key, answer)
        return "answered", answer

    @contextlib.contextmanager
    def _turn(self, head: wire.Message, turn: _Turn) -> Iterator[Callable[[], bool]]:
        """Wait for the running job to end; gives the function that tells when to stop. A job that
        fails after it was charged keeps its turn until the next point of its schedule."""
        turn.end = min(time_in(head), self._clock() + self._policy.max_job_seconds)
        if not self._lock.acquire(timeout=max(0.0, turn.end - self._clock())):
            raise Cancelled
        try:
            if self._stopping() or self._clock() >= turn.end:
                raise Cancelled
            yield lambda: self._stopping() or self._clock() >= turn.end
        except Exception as exception:
            if turn.charged is not None and not failure.harmless(exception, self._stopping()):
                self._wait(failure.answer_time(turn.charged, self._clock(), turn.end))
            raise
        finally:
            self._lock.release()

    def _approved(self, head: wire.Message, job: Job, n_bytes: int) -> Plan:
        """The plan of a message whose arrays are not decoded yet, if it may run here at all and
        can have a message of so many bytes."""
        text = head.header.get("plan")
        if not isinstance(text, str):
            raise Refused("bad-message", f"a {head.kind[:20]!r} message without a proper 'plan'")
        try:
            plan = parse_plan(text, "plan")
        except (InputError, RecursionError) as error:
            log.warning("a plan was refused: %s", error)
            sentence = "the plan is not valid, or needs another version of this software"
            raise Refused("bad-plan", sentence) from None
        self._seen.note(plan)
        check_decisions(plan, self._policy, self._name)
        limits.check_limits(plan, job.name, self._policy)
        arrays = job.array_bytes(plan, self._premises)
        if arrays is not None and n_bytes > arrays + wire.OVERHEAD_BYTES:
            raise Refused("too-large", f"no '{job.name}' of this plan has {n_bytes} bytes")
        return plan

    def _admitted(self, job: Job, plan: Plan, task: SiteTask, turn: _Turn) -> Context:
        """Everything that must hold before any work is done, by the policy as it is today."""
        table, entries = self._premises.table, self._ledger.entries()
        check_lost(entries, plan.study.name)
        ledger_entry = ledger_entry_of(task, fingerprint(table, self._data_path), plan.study.name)
        turn.ledger_entry = ledger_entry
        enrolment.check_enrolled(entries, ledger_entry, self._enrolments)
        read = job.rows(plan, self._premises)
        counted = [count_patients(plan, table.take(rows)) for rows in read]
        cost = job.cost(plan, task, table)
        context = Context(self._name, plan, task, ledger_entry, *counted[0], cost=cost)
        if plan.aggregation.secure:
            self._premises.sessions.trust()
        context = job.admit(context, self._premises)
        for rows in read:
            limits.check_cohort(count_known(plan, table.take(rows)), self._policy)
        if cost.inputs:
            study = of_study(entries, plan)
            limit = 1 if cost.once else self._policy.max_inputs
            limits.check_inputs(study, ledger_entry, one_state=job.one_state, limit=limit)
        return context

    def _again(self, job: Job, key: str, context: Context) -> bytes | None:
        """The reply that left before, where it is kept, may leave again and is the very one."""
        kept = self._cache.get(key) if job.kept else None
        if kept is None:
            return None
        self._check_budget(job, context, again=True)
        return self._gate.repeat(kept, context)

    def _unmasked(self, job: Job, context: Context) -> tuple[Context, bytes | None]:
        """Masked scores are read and charged once: where they left under other masks, they leave
        under those of now; else the context keeps what the masks will cover."""
        task = context.task
        if not isinstance(task, EvaluateTask) or task.masking is None:
            return context, None
        bare = reply_key(context, self._policy, bare=True)
        kept = self._cache.get(bare)
        if kept is None:
            return dataclasses.replace(context, keep=partial(self._cache.put, bare)), None
        self._check_budget(job, context, again=True)
        return context, self._gate.mask_again(kept, context)

    def _charged(self, job: Job, context: Context, turn: _Turn) -> Context:
        """The context with its charge, which is on the disk before the first row is read. The
        same question of the same data is charged once, unless its noise is drawn again."""
        cost, ledger_entry, entries = context.cost, context.ledger_entry, self._ledger.entries()
        assert cost is not None
        if cost.free:
            return context
        self._mark.check()
        self._check_budget(job, context)
        if isinstance(context.task, EnrolTask):
            check_whole_study(context.plan, plan_figures(context.plan), entries, self._policy)
        asked = of_study(entries, context.plan)
        known = [
            e for e in asked if e.kind == CHARGE and question_in(e) == question_in(ledger_entry)
        ]
        figures = 0 if known else cost.figures
        check_figures(dataclasses.replace(cost, figures=figures), entries, self._policy)
        paid = known[0] if known and cost.epsilon is None else None
        charge = paid or self._charge(cost, figures, ledger_entry)
        turn.charged = self._clock()
        return dataclasses.replace(context, charge=charge)

    def _charge(self, cost: Cost, figures: int, ledger_entry: Entry) -> Entry:
        entries, debited = self._ledger.entries(), cost.epsilon
        entry = dataclasses.replace(
            ledger_entry,
            kind=CHARGE,
            charge={"inputs": cost.inputs, "figures": figures},
            privacy={} if debited is None else budget.debit(debited, entries, self._policy),
        )
        sealed = self._ledger.append(entry)
        if debited is not None:
            self._mark.move()
        return sealed

    def _check_budget(self, job: Job, context: Context, *, again: bool = False) -> None:
        entries = self._ledger.entries()
        plan, task, bounded = context.plan, context.task, job.bounded(context.plan)
        budget.check_budget(plan, task, entries, self._policy, bounded=bounded, again=again)


def _report(ledger_entry: Entry, outcome: str, started: float, n_bytes: int = 0) -> None:
    """One line a job."""
    log.info(
        "job=%s round=%d run=%s outcome=%s bytes=%d seconds=%.2f",
        ledger_entry.job,
        ledger_entry.round,
        ledger_entry.run[:12] or "-",
        outcome,
        n_bytes,
        time.monotonic() - started,
    )
