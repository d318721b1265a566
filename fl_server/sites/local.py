"""The same study in one process, on pooled data: the reference federation is compared with."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import final

from infomri_core.messages import ErrorReply, SiteReply, SiteTask
from infomri_core.plan.alone import without_alone
from infomri_core.plan.reading import parse_plan, without_noise
from infomri_core.site.site import Site
from infomri_core.system.errors import Refused


@final
class LocalSites:
    """Sites of this process, asked one after the other, with no gate between: their scores are
    exact, whatever the plan, since nothing leaves."""

    in_process = True

    def __init__(self, sites: Sequence[Site], alone: bool = True) -> None:
        """``alone``: whether sites train by themselves what the plan has them train so."""
        self._sites = {site.name: site for site in sites}
        self._alone = alone

    def online(self) -> list[str]:
        """All of them, always."""
        return list(self._sites)

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        """Run the task at each site in turn."""
        return self.ask_each(dict.fromkeys(to, task))

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        """Run each site's task, one site after the other."""
        for name, task in tasks.items():
            plan = without_noise(parse_plan(task.plan_text))
            plan = plan if self._alone else without_alone(plan)
            try:
                yield name, self._sites[name].run(plan, task, partial(_late, task))
            except Refused as refusal:
                yield name, ErrorReply(refusal.code, refusal.sentence)


def _late(task: SiteTask) -> bool:
    return time.time() > task.deadline
