"""``infomri train``: a study on pooled data in this process."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from fl_server.audit.overlap import refuse_overlap
from fl_server.run.folder import find_run, run_name
from fl_server.settings import Audit, Centre, CentreSettings, Mlflow
from fl_server.sites.local import LocalSites
from fl_server.study.open import run_study
from fl_server.terminal.exit_codes import interrupted
from fl_server.terminal.follow_events import Follower
from infomri_core.data import open_dataset
from infomri_core.data.pool import pool
from infomri_core.plan.alone import without_alone
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import read_results
from infomri_core.results.table import print_frontier
from infomri_core.site.site import open_site
from infomri_core.system.files import check_output, disk_errors_explained


@dataclass(frozen=True)
class Places:
    """``out`` holds the run, which ``resume`` names if it is to be continued; ``store`` is
    MLflow's URI, '' for a SQLite store in ``out``."""

    out: Path
    resume: str = ""
    store: str = ""


def train_centrally(
    plan: Plan, data: list[str], audit: str, places: Places, console: Console
) -> None:
    """Run ``plan`` on the pooled data sets and print the frontier.

    Raises ``InputError`` when a patient of the audit set is among the pooled ones.
    """
    if plan.aggregation.secure:
        console.print("Secure aggregation is skipped: the pooled data are one site, and are here")
    plan, out = of_one_site(plan), places.out
    check_output(out)
    pooled = pool([open_dataset(uri) for uri in data])
    refuse_overlap(pooled, open_dataset(audit))
    site = open_site(pooled, "pooled", out / "site")
    centre = CentreSettings(Audit(audit), Centre(out.resolve()), Mlflow(places.store))
    run_id = time.strftime("%Y%m%d%H%M%S")
    name = find_run(centre, places.resume) if places.resume else run_name(plan, run_id)
    directory = out / name
    stands = f"whole rounds are kept; the same command with --resume {directory} continues"
    with (
        disk_errors_explained(directory, f"make room; {stands}"),
        interrupted(stands),
        Follower(directory / "events.jsonl", console),
    ):
        run_study(
            plan, centre, LocalSites([site], alone=False), run_id=run_id, resume=places.resume
        )
    results = directory / "results.json"
    print_frontier(console, *read_results(results))
    console.print(f"Results    {results}", soft_wrap=True)


def of_one_site(plan: Plan) -> Plan:
    """The same study with a quorum of one and no masks: the pooled data are one site, which is not
    trained twice. Its text,
    and so its identity, stays."""
    plan = without_alone(plan)
    return replace(
        plan,
        training=replace(plan.training, quorum=1),
        aggregation=replace(plan.aggregation, secure=False),
    )
