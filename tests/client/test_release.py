"""Released k-space: whose, which positions, and the same bytes whenever it is asked again."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from fl_client.jobs import Jobs
from fl_client.memory.ledger import Ledger, read_ledger
from fl_client.memory.release_memory import closure
from fl_server.study.release import read_release
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import ErrorReply, ReleaseReply, ReleaseTask, SiteReply, SiteTask, wire
from infomri_core.messages import reply_from as reply_of
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from tests.support.small import SilentTracker, site_uri, small_table, study
from tests.support.vault_fakes import FAR, make_settings

ARM, SECRET = "uniform-s0", "ab" * 32


def plan_of(name: str = "small", acceleration: float = 8.0) -> Plan:
    table = small_table()
    table["study"]["name"] = name
    table["measurement"]["accelerations"] = [4.0, 8.0]
    table["evaluation"]["noise"] = False
    return parse_plan(
        tomli_w.dumps(table | {"release": {"arm": ARM, "acceleration": acceleration}})
    )


def task_of(plan: Plan, **changes: Any) -> ReleaseTask:
    assert plan.release is not None
    weights = flatten(build_model(plan, plan.arm(ARM)))
    task = ReleaseTask(
        plan.text, plan.training.rounds, FAR, ARM, plan.release.acceleration, weights
    )
    return dataclasses.replace(task, **changes)


class Hospital:
    """The real site behind the real gate, with a consent list to write."""

    def __init__(self, folder: Path, uri: str = site_uri("a"), **policy: Any) -> None:
        self.consent = folder / "consent.txt"
        self.dataset = open_dataset(uri)
        limits = {"min_cohort": 1, "max_released_fraction": 0.3, "consent": self.consent}
        settings = make_settings(folder, **(limits | policy))
        settings = dataclasses.replace(settings, site=dataclasses.replace(settings.site, name="a"))
        self.ledger = Ledger.open(settings.vault.state / "ledger.jsonl")
        self.ledger_file = settings.vault.state / "ledger.jsonl"
        state, least = settings.vault.state / "optimizer", settings.policy.min_cohort
        site = Site(self.dataset, "a", state, secret=SECRET, min_cohort=least)
        self.jobs = Jobs(settings, site, self.dataset.table, self.ledger)
        self.scored = sorted({str(p) for p in self.dataset.table.patients[site.scored(plan_of())]})
        self.agree(*self.scored)

    def agree(self, *patients: str) -> None:
        self.consent.write_text("# consent\n" + "\n".join(patients) + "\n")

    def ask(self, task: SiteTask) -> SiteReply:
        return reply_of(wire.decode(self.jobs.handle(wire.encode(task.to_message()))))

    def released(self, task: ReleaseTask) -> ReleaseReply:
        reply = self.ask(task)
        assert isinstance(reply, ReleaseReply), reply
        return reply

    def refusal(self, task: SiteTask) -> str:
        reply = self.ask(task)
        assert isinstance(reply, ErrorReply), reply
        return reply.code


@contextlib.contextmanager
def hospital(folder: Path, **policy: Any) -> Iterator[Hospital]:
    there = Hospital(folder, **policy)
    with contextlib.closing(there.ledger):
        yield there


def test_only_sampled_positions_of_consenting_patients_leave(tmp_path: Path) -> None:
    with hospital(tmp_path) as there:
        chosen = there.scored[:2]
        there.agree(*chosen, "somebody else")
        reply = there.released(task_of(plan_of()))
        assert len(reply.patients) == 2
        for patient in reply.patients.values():
            assert patient.mask.sum() == 32 * 32 / 8
            assert patient.values.shape == (2, patient.mask.sum())
            assert (patient.kspace()[:, ~patient.mask] == 0).all()
        names = b"".join(name.encode() for name in reply.patients)
        assert not any(patient.encode() in names for patient in there.scored)
        text = there.ledger_file.read_text()
        assert not any(patient in text for patient in there.scored)


def test_what_is_released_is_the_noisy_kspace_of_that_patient(tmp_path: Path) -> None:
    with hospital(tmp_path) as there:
        there.agree(there.scored[0])
        (patient,) = there.released(task_of(plan_of())).patients.values()
        table = there.dataset.table
        rows = np.flatnonzero(table.patients == there.scored[0])
        kspace = fft2c(there.dataset.images(rows)).numpy()
        noise = patient.values - kspace[:, patient.mask]
        assert 0.5 < np.std(noise) / (np.sqrt(2) * plan_of().measurement.noise_std) < 1.5
        assert not np.allclose(noise[0], noise[1])


def test_asking_twice_gives_the_same_bytes_after_a_restart_too(tmp_path: Path) -> None:
    data = wire.encode(task_of(plan_of()).to_message())
    with hospital(tmp_path) as there:
        first = there.jobs.handle(data)
        assert there.jobs.handle(data) == first
    with hospital(tmp_path) as there:
        torch.manual_seed(1)
        assert there.jobs.handle(data) == first
        assert [e.kind for e in read_ledger(there.ledger_file)] == ["charge", *["released"] * 3]


def test_a_withdrawal_holds_from_the_next_job_on(tmp_path: Path) -> None:
    with hospital(tmp_path) as there:
        task = task_of(plan_of())
        before = there.released(task)
        there.agree(*there.scored[1:])
        after = there.released(task)
        assert len(after.patients) == len(before.patients) - 1
        assert set(after.patients) < set(before.patients)
        there.consent.unlink()
        assert there.refusal(task) == "consent"


def test_a_second_choice_of_the_same_study_is_refused(tmp_path: Path) -> None:
    with hospital(tmp_path, max_released_fraction=0.5) as there:
        task = task_of(plan_of())
        there.released(task)
        assert there.refusal(task_of(plan_of(acceleration=4.0))) == "released"
        assert there.refusal(dataclasses.replace(task, weights=task.weights + 1)) == "released"
        assert there.released(task_of(plan_of("another"))).patients


def test_studies_together_stay_under_the_limit(tmp_path: Path) -> None:
    with hospital(tmp_path, max_released_fraction=0.5) as there:
        union: np.ndarray = np.zeros((32, 32), bool)
        there.agree(there.scored[0])
        for i in range(6):
            reply = there.ask(task_of(plan_of(f"study-{i}")))
            if isinstance(reply, ReleaseReply):
                (patient,) = reply.patients.values()
                union |= closure(patient.mask)
        assert 0.2 < union.mean() <= 0.5
        assert isinstance(reply, ErrorReply)
        assert reply.code == "limit"


def test_a_study_asks_for_its_release_and_keeps_it(tmp_path: Path) -> None:
    plan = plan_of()

    class OneSite:
        def online(self) -> list[str]:
            return ["1"]

        def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
            yield "1", there.ask(task)

    with hospital(tmp_path) as there:
        study(plan, OneSite(), tmp_path, SilentTracker()).run()
        meta = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]
        told = meta["released"]["sites"]["a"]
        assert told["n_patients"] == len(there.scored)
        patients = read_release(tmp_path / "run" / told["file"])
        assert len(patients) == told["n_patients"]
        assert all(p.mask.shape == (32, 32) for p in patients.values())
