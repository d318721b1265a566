"""What the ledger knows of one study: by its name, whatever the text of its plan.

Counters belong to the data and to the name of the study. A plan approved a second time with
another comment, digest and all, finds what was asked under the first.
"""

import dataclasses
from collections.abc import Iterable

from fl_client.memory.ledger import Entry
from infomri_core.plan.plan import Plan
from infomri_core.system.names import same_study_name


def of_study(entries: Iterable[Entry], plan: Plan) -> list[Entry]:
    """The entries of the study that ``plan`` is one of, as if all had been of ``plan`` itself.
    Entries from before ledgers kept the name are known by the plan's digest."""
    return [dataclasses.replace(e, run=plan.digest) for e in entries if _same(e, plan)]


def _same(entry: Entry, plan: Plan) -> bool:
    return (
        same_study_name(entry.study, plan.study.name) if entry.study else entry.run == plan.digest
    )
