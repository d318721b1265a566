"""The hospitals as the study sees them: somebody to ask, who answers, or doesn't."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from infomri_core.messages import SiteReply, SiteTask


class Sites(Protocol):
    """Sites by node id. Flower's grid is one kind, one process with pooled data another."""

    def online(self) -> list[str]:
        """Ids of the nodes that can be asked now."""
        ...

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        """Send ``task`` to each node; yield (node id, reply) as replies arrive.

        Ends when all have answered or the task's deadline has passed; who is late yields nothing.
        """
        ...

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        """:meth:`ask` with a task of its own for each node, all of one kind and deadline."""
        ...


def in_process(sites: Sites) -> bool:
    """Whether ``sites`` compute in this process, so that nothing leaves: ``in_process`` of theirs
    says so, where there is one."""
    return bool(getattr(sites, "in_process", False))
