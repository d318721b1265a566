"""The same study in one process, on pooled data: the reference federation is compared with."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import final

from infomri_core.errors import Refused
from infomri_core.exchange import ErrorReply, SiteReply, SiteTask
from infomri_core.plan import parse_plan
from infomri_core.site import Site


@final
class LocalSites:
    """Sites of this process, asked one after the other, with no gate between."""

    def __init__(
        self, sites: Sequence[Site], before_task: Callable[[], None] = lambda: None
    ) -> None:
        """``before_task`` is called before each question, for whoever shows progress."""
        self._sites = {site.name: site for site in sites}
        self._before_task = before_task

    def online(self) -> list[str]:
        """All of them, always."""
        return list(self._sites)

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        """Run the task at each site in turn."""
        plan = parse_plan(task.plan_text)
        for name in to:
            self._before_task()
            try:
                yield name, self._sites[name].run(plan, task, lambda: time.time() > task.deadline)
            except Refused as refusal:
                yield name, ErrorReply(refusal.code, refusal.sentence)
