"""The limit of released k-space: what plans, repetitions and restored files cannot break."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fl_client.gate.context import Context
from fl_client.gate.gate import Gate
from fl_client.gate.release_gate import Consent
from fl_client.jobs import ledger_entry_of
from fl_client.jobs.registry import check_of
from fl_client.memory.high_water_mark import HighWaterMark
from fl_client.memory.ledger import Ledger
from fl_client.memory.release_memory import ReleaseMemory, closure, pack_mask, unpack_mask
from fl_client.settings import Policy
from infomri_core.messages import ReleaseReply, ReleaseTask, reply_from, wire
from infomri_core.physics.kspace import reflect
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling.amortised import InclusionMasks
from infomri_core.site.release import permanent_id, pseudonym, release_patient
from infomri_core.system.errors import Refused
from tests.support.vault_fakes import SHAPE, make_plan, release_task

SECRET, LIMIT = "a site's own secret", 0.4
PATIENTS = ("p0", "p1")
ACCELERATIONS = (4.0, 8.0, 16.0)
ARMS = ("uniform-s0", "variable-density-e8-s0")
EXAMPLES = int(os.environ.get("INFOMRI_EXAMPLES", "60"))
"""More of them try longer: 600 ask for thousands of plans, in a few minutes."""


def plan_of(study: str, arm: str, acceleration: float) -> Plan:
    return make_plan(
        study={"name": study},
        arms=[{"sampler": "uniform"}, {"sampler": "variable-density"}],
        measurement={"ratio_range": [0.05, 0.5], "accelerations": list(ACCELERATIONS)},
        release={"arm": arm, "acceleration": acceleration},
    )


def image(patient: str) -> torch.Tensor:
    return torch.rand((1, *SHAPE), generator=torch_generator(patient))


def sampled(plan: Plan, task: ReleaseTask, weights: int) -> ReleaseReply:
    """What a site would compute: ``weights`` stands for the policy that training ended with."""
    density = torch.rand(SHAPE, generator=torch_generator("density", weights))
    density = (density * 0.5 / task.acceleration / density.mean()).clamp(max=1)
    masks = InclusionMasks(density)
    patients = {
        pseudonym(SECRET, plan.study.name, p): release_patient(masks, image(p), plan, SECRET, p)
        for p in PATIENTS
    }
    return ReleaseReply(task.arm, task.acceleration, SHAPE, patients)


def renamed(plan: Plan) -> Context:
    """A release of ``plan`` by a site that enrolled anew: other ids under another key."""
    task = release_task(plan)
    ids = {pseudonym(SECRET, plan.study.name, p): permanent_id("new", p) for p in PATIENTS}
    context = Context("north", plan, task, ledger_entry_of(task), 2, (), ())
    return dataclasses.replace(context, consent=Consent("new key", ids))


class Border(RuleBasedStateMachine):
    """An adversary who may ask anything, and put older files back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger_file, self.mark = self.folder / "ledger.jsonl", self.folder / "mark.json"
        self.known = {p: np.zeros(SHAPE, bool) for p in PATIENTS}
        self.seen: dict[tuple[str, str], bytes] = {}
        self.backups: list[Path] = []
        self.ledger = Ledger.open(self.ledger_file)
        self.rolled_back = False

    def gate(self) -> Gate:
        memory = ReleaseMemory(self.ledger, HighWaterMark(self.ledger, self.mark), LIMIT)
        return Gate(Policy(min_cohort=1), self.ledger, memory, check_of)

    @rule(
        study=st.sampled_from("abcdefgh"),
        arm=st.sampled_from(ARMS),
        acceleration=st.sampled_from(ACCELERATIONS),
        weights=st.integers(0, 5),
    )
    def ask(self, study: str, arm: str, acceleration: float, weights: int) -> None:
        plan = plan_of(study, arm, acceleration)
        flat = np.full(3, weights, np.float32)
        task = release_task(plan, arm=arm, acceleration=acceleration, weights=flat)
        ids = {pseudonym(SECRET, study, p): permanent_id(SECRET, p) for p in PATIENTS}
        context = Context("north", plan, task, ledger_entry_of(task), 2, (), ())
        context = dataclasses.replace(context, consent=Consent("key", ids))
        try:
            data = self.gate().leave(sampled(plan, task, weights), context)
        except Refused:
            return
        assert not self.rolled_back, "released on a ledger that forgot a release"
        reply = reply_from(wire.decode(data))
        assert isinstance(reply, ReleaseReply)
        for patient in PATIENTS:
            released = reply.patients.get(pseudonym(SECRET, study, patient))
            if released is None:
                continue
            self.known[patient] |= closure(released.mask)
            one = pack_mask(released.mask).encode() + released.values.tobytes()
            assert self.seen.setdefault((study, patient), one) == one

    @rule(study=st.sampled_from("abcdefgh"))
    def enrol_anew(self, study: str) -> None:
        """Under another site key every patient has another id: whoever was released is known all
        the same, so nothing more leaves."""
        if not self.seen:
            return
        plan = plan_of(study, ARMS[0], 16.0)
        with pytest.raises(Refused):
            self.gate().leave(sampled(plan, release_task(plan), 0), renamed(plan))

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.ledger_file)

    @rule()
    def back_up(self) -> None:
        folder = self.folder / f"backup{len(self.backups)}"
        folder.mkdir()
        for path in (self.ledger_file, self.mark):
            if path.exists():
                shutil.copy(path, folder / path.name)
        self.backups.append(folder)

    @rule(data=st.data())
    def restore_the_mark(self, data: st.DataObject) -> None:
        """An older mark, or none: the ledger is the truth."""
        if self.rolled_back:
            return
        self.mark.unlink(missing_ok=True)
        if self.backups:
            old = data.draw(st.sampled_from(self.backups)) / self.mark.name
            if old.exists():
                shutil.copy(old, self.mark)

    @rule(data=st.data())
    def restore_the_ledger_for_a_while(self, data: st.DataObject) -> None:
        """An older ledger beside the mark of the last release releases nothing."""
        if not self.backups or self.rolled_back:
            return
        self.gate_is_marked()
        now = self.ledger_file.read_bytes()
        self.ledger.close()
        shutil.copy(data.draw(st.sampled_from(self.backups)) / "ledger.jsonl", self.ledger_file)
        old = self.ledger_file.read_bytes()
        self.ledger, self.rolled_back = Ledger.open(self.ledger_file), old != now
        for study in "xyz":
            self.ask(study, ARMS[0], 16.0, 0)
        if self.rolled_back:
            self.ledger.close()
            self.ledger_file.write_bytes(now)
            self.ledger, self.rolled_back = Ledger.open(self.ledger_file), False

    def gate_is_marked(self) -> None:
        if self.ledger.entries():
            HighWaterMark(self.ledger, self.mark).move()

    @invariant()
    def no_more_than_the_limit_ever_left(self) -> None:
        limit = LIMIT * SHAPE[0] * SHAPE[1]
        assert all(positions.sum() <= limit for positions in self.known.values())

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


TestBorder = Border.TestCase
TestBorder.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)


def test_the_limit_binds() -> None:
    """The machine above tests something: without a limit the union grows beyond it."""
    union = np.zeros(SHAPE, bool)
    for study in "abcdefgh":
        plan = plan_of(study, ARMS[0], 4.0)
        task = release_task(plan)
        union |= closure(next(iter(sampled(plan, task, 0).patients.values())).mask)
    assert union.mean() > LIMIT


@pytest.mark.parametrize("shape", [(8, 8), (7, 6), (5, 9)])
def test_a_closure_is_the_mask_and_its_conjugate_partners(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.2
    partners = reflect(torch.from_numpy(mask)).numpy()
    np.testing.assert_array_equal(closure(mask), mask | partners)
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), shape), mask)


def test_another_site_key_forgets_nobody(tmp_path: Path) -> None:
    machine = Border()
    try:
        machine.ask("a", ARMS[0], 16.0, 0)
        plan = plan_of("b", ARMS[0], 16.0)
        with pytest.raises(Refused, match="key"):
            machine.gate().leave(sampled(plan, release_task(plan), 0), renamed(plan))
    finally:
        machine.teardown()
