"""The law over jobs: none without its whole declaration, and none that runs uncharged."""

import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest

from fl_client.jobs import registry
from fl_client.jobs.declaration import Job, Premises
from fl_client.jobs.questions import LISTED
from fl_client.jobs.registry import JOBS, job_of, registered
from fl_client.memory.ledger import CHARGE
from fl_client.memory.masking import Sessions
from fl_client.settings import Policy, Secure
from infomri_core.messages import SiteTask
from infomri_core.messages.secure import SECURE_JOBS
from infomri_core.system.errors import InputError, Refused
from tests.support.vault_fakes import (
    PLAN,
    RELEASE_PLAN,
    FakeSite,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_table,
    train_task,
)

PARTS = [part.name for part in dataclasses.fields(Job)]
TRAIN = JOBS["train"]


@pytest.mark.parametrize("part", PARTS)
def test_a_job_without_one_part_of_its_declaration_cannot_be_registered(part: str) -> None:
    whole = {name: getattr(TRAIN, name) for name in PARTS}
    assert list(registered([Job(**whole)])) == ["train"]
    with pytest.raises(TypeError, match=part):
        Job(**{name: value for name, value in whole.items() if name != part})
    for gap in (None, ""):
        with pytest.raises(InputError, match=part):
            registered([Job(**{**whole, part: gap})])


def test_two_jobs_of_one_name_or_one_task_are_not_registered() -> None:
    for other in (TRAIN, dataclasses.replace(TRAIN, name="train-2")):
        with pytest.raises(InputError, match="its own"):
            registered([TRAIN, other])


def test_every_task_that_can_be_sent_has_its_job_and_no_other_kind_has() -> None:
    tasks = [t for arg in typing.get_args(SiteTask) for t in (typing.get_args(arg) or (arg,))]
    assert {job.task for job in JOBS.values()} == set(tasks)
    assert set(JOBS) == set(LISTED)
    for kind in ("ping", "status", "", "card"):
        with pytest.raises(Refused, match="no job of that name"):
            registry.job_named(kind)


@pytest.mark.parametrize("job", JOBS.values(), ids=list(JOBS))
def test_a_job_that_asks_about_patients_costs_and_one_that_does_not_is_free(job: Job) -> None:
    table = make_table()
    for plan in (PLAN, RELEASE_PLAN):
        task: Any = {"train": train_task(), "evaluate": evaluate_task()}.get(job.name)
        cost = job.cost(plan, task, table)
        assert cost.free is (job.name in SECURE_JOBS)
        assert job.figures(plan) >= 0 and isinstance(job.bounded(plan), bool)
        premises = Premises(FakeSite(table), table, Policy(), Sessions("north", Secure()), list)
        limit = job.array_bytes(plan, premises)
        assert limit is None or limit >= 0
        if job.name != "release":
            assert all(len(rows) for rows in job.rows(plan, premises))


@pytest.mark.parametrize("task", [enrol_task(), train_task(), evaluate_task()])
def test_the_charge_is_on_the_disk_before_the_job_runs(tmp_path: Path, task: Any) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        found: list[list[str]] = []

        def look(asked: Any) -> Any:
            found.append([entry.kind for entry in ledger.entries()])
            assert ledger.verify() == 1
            site.result = None
            return site.run(PLAN, asked, lambda: False)

        site.result = look
        jobs.handle(encode(task))
        assert found == [[CHARGE]]
        (charged,) = [entry for entry in ledger.entries() if entry.kind == CHARGE]
        cost = job_of(task).cost(PLAN, task, site.table)
        assert charged.charge == {"inputs": cost.inputs, "figures": cost.figures}
        assert (charged.study, charged.run) == (PLAN.study.name, PLAN.digest)
        assert charged.input and charged.data
