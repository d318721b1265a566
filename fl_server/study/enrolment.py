"""Who takes part: sites enrol when they first appear, and may come, go and come back."""

import math
import time
from typing import final

from fl_server.run.events import Progress
from fl_server.sites.base import Sites
from fl_server.study.failure import StudyFailed
from infomri_core.messages import DatasetCard, EnrolTask, ErrorReply, SiteReply
from infomri_core.plan.plan import Plan
from infomri_core.system.words import counted

POLL_SECONDS = 0.5
RETRY_SECONDS = 10.0
PASSING = frozenset({"stopping", "deadline", "vault-unreachable", "failed"})
"""Codes of refusals that another try may not meet; what a site decided against stays so."""


def deadline(plan: Plan) -> float:
    """Unix time by which a phase that starts now must end."""
    return time.time() + plan.training.deadline_seconds


@final
class Roster:
    """The enrolled sites of a study and their dataset cards."""

    def __init__(self, sites: Sites, plan: Plan, progress: Progress) -> None:
        self._sites = sites
        self._plan = plan
        self._progress = progress
        self._cards: dict[str, DatasetCard] = {}
        self._retry_at: dict[str, float] = {}
        self._refusals: dict[str, str] = {}

    @property
    def cards(self) -> list[DatasetCard]:
        """Cards of all sites that ever enrolled."""
        return list(self._cards.values())

    def name(self, node: str) -> str:
        """The site's name, or the node's id before it has enrolled."""
        return self._cards[node].site if node in self._cards else f"node {node}"

    def participants(self, round_number: int) -> list[str]:
        """Enrolled nodes that are online, once there are as many as the plan's quorum.

        Raises ``StudyFailed`` when the quorum is not reached within the plan's deadline, or
        cannot be because sites have refused.
        """
        quorum, give_up, told = self._plan.training.quorum, deadline(self._plan), False
        while True:
            online = self._sites.online()
            new = [n for n in online if n not in self._cards and self._may_ask(n)]
            if new and sum(self._may_yet_join(n) for n in online) >= quorum:
                self._enrol(new, online)
            ready = [node for node in online if node in self._cards]
            if len(ready) >= quorum:
                return ready
            hopeless = len(online) >= quorum and not any(map(self._may_yet_join, online))
            if time.time() > give_up or (hopeless and not ready):
                raise StudyFailed(
                    f"round {round_number}: {len(ready)} sites ready of {len(online)} online, "
                    f"the plan's quorum is {quorum}; start or fix the others and resume"
                    f"{self._reasons()}"
                )
            if not told:
                missing = quorum - len(ready)
                self._progress.report("waiting", f"waiting for {counted(missing, 'more site')}")
                told = True
            time.sleep(POLL_SECONDS)

    def report_refusal(self, node: str, reply: SiteReply, round_number: int) -> None:
        """Report a reply that is not an answer to what was asked."""
        why = (
            f"{reply.code}: {reply.sentence}"
            if isinstance(reply, ErrorReply)
            else "malformed reply"
        )
        where = f"round {round_number}: " if round_number else ""
        self._refusals[node] = why
        self._progress.report("refused", f"{where}{self.name(node)} refused: {why}")

    def _reasons(self) -> str:
        """What the sites said that did not take part, for the end of a sentence."""
        said = [f"{self.name(node)}: {why}" for node, why in self._refusals.items()]
        return f". Refusals: {'; '.join(said)}" if said else ""

    def _may_yet_join(self, node: str) -> bool:
        return not math.isinf(self._retry_at.get(node, 0.0))

    def _may_ask(self, node: str) -> bool:
        return time.monotonic() >= self._retry_at.get(node, 0.0)

    def _refused(self, node: str, reply: SiteReply) -> None:
        """Ask again later, or never in this run, and say why."""
        passing = isinstance(reply, ErrorReply) and reply.code in PASSING
        self._retry_at[node] = time.monotonic() + RETRY_SECONDS if passing else math.inf
        self.report_refusal(node, reply, 0)

    def _taken(self, card: DatasetCard, node: str, online: list[str]) -> bool:
        """Whether another node that is online takes part under this site's name."""
        return any(
            other.site == card.site and known in online and known != node
            for known, other in self._cards.items()
        )

    def _enrol(self, nodes: list[str], online: list[str]) -> None:
        task = EnrolTask(self._plan.text, deadline(self._plan))
        for node, reply in self._sites.ask(task, nodes):
            if not isinstance(reply, DatasetCard):
                self._refused(node, reply)
                continue
            if self._taken(reply, node, online):
                sentence = f"another node takes part as site {reply.site}; rename one of them"
                self._refused(node, ErrorReply("site-name", sentence))
                continue
            self._cards[node] = reply
            found = ", ".join(f"{n} {k}" for k, n in zip(reply.labels, reply.n_positive))
            self._progress.report(
                "enrolled",
                f"site {reply.site}: {reply.n_patients} patients, {reply.n_slices} slices"
                + (f" ({found})" if found else ""),
                site=reply.site,
                versions=dict(reply.versions),
            )
