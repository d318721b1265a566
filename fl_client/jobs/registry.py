"""The closed list of jobs, by the kind of the message that asks for each."""

from collections.abc import Iterable

from fl_client.gate.context import Check
from fl_client.jobs import adapt, enrol, evaluate, moments, release, train
from fl_client.jobs.declaration import Job, check_declared
from fl_client.jobs.secure import announce, share, unmask
from infomri_core.messages import SiteTask
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError, Refused


def registered(jobs: Iterable[Job]) -> dict[str, Job]:
    """``jobs`` by name. Raises ``InputError`` for one whose declaration has a gap, and for two of
    one name or one task."""
    found: dict[str, Job] = {}
    for job in jobs:
        check_declared(job)
        if job.name in found or job.task in {known.task for known in found.values()}:
            raise InputError(f"job {job.name!r}", "a name and task of its own", "taken", "rename")
        found[job.name] = job
    return found


JOBS = registered(
    (
        enrol.JOB,
        moments.JOB,
        train.JOB,
        adapt.JOB,
        evaluate.JOB,
        release.JOB,
        announce.JOB,
        share.JOB,
        unmask.JOB,
    )
)


def job_named(kind: str) -> Job:
    """The job that a message of this kind asks for. Raises ``Refused("unknown-job")``."""
    if kind not in JOBS:
        raise Refused("unknown-job", "this site has no job of that name")
    return JOBS[kind]


def job_of(task: SiteTask) -> Job:
    """The job that ``task`` asks for."""
    return next(job for job in JOBS.values() if job.task is type(task))


def check_of(task: SiteTask) -> Check:
    """How the reply to ``task`` is checked before it leaves."""
    return job_of(task).check_reply


def plan_figures(plan: Plan) -> int:
    """The most figures that the whole study draws from one site, each question asked once."""
    return sum(job.figures(plan) for job in JOBS.values())
