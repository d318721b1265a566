"""``infomri train``: a study on pooled data in this process."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from fl_server.follow import Follower
from fl_server.local import LocalSites
from fl_server.settings import Audit, Centre, CentreSettings
from fl_server.study import run_name, run_study
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.data.pool import pool
from infomri_core.errors import InputError
from infomri_core.frontier_table import table
from infomri_core.plan import Plan
from infomri_core.site import open_site


def train_centrally(plan: Plan, data: list[str], audit: str, out: Path, console: Console) -> None:
    """Run ``plan`` on the pooled data sets and print the frontier.

    Raises ``InputError`` when a patient of the audit set is among the pooled ones.
    """
    plan = of_one_site(plan)
    pooled = pool([open_dataset(uri) for uri in data])
    refuse_overlap(pooled, open_dataset(audit))
    site = open_site(pooled, "pooled", out / "site")
    centre = CentreSettings(Audit(audit), Centre(out.resolve()))
    run_id = time.strftime("%Y%m%d%H%M%S")
    directory = out / run_name(plan, run_id)
    with Follower(directory / "events.jsonl", console) as follower:
        rows = run_study(plan, centre, LocalSites([site], follower.poll), run_id=run_id)
        follower.poll()
    console.print(table(rows, {"study": plan.study.name}, console.width))
    console.print(f"Results    {directory / 'results.json'}", soft_wrap=True)


def of_one_site(plan: Plan) -> Plan:
    """The same study with a quorum of one: the pooled data are one site. Its text, and so its
    identity, stays."""
    alone = replace(plan, training=replace(plan.training, quorum=1))
    object.__setattr__(alone, "text", plan.text)
    return alone


def refuse_overlap(training: SliceDataset, audit: SliceDataset) -> None:
    """Attackers trained on the very patients they attack would prove nothing."""
    n_shared = len(np.intersect1d(training.table.patients, audit.table.patients))
    if n_shared:
        raise InputError(
            "--audit",
            "patients of its own",
            f"{n_shared} that are in --data too",
            "use role=site for --data and role=audit for --audit",
        )
