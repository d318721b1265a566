"""A hostile centre wants one site's update out of secure aggregation.

Training repeats bit for bit. So the centre trains round 1 over a, b, c, d in one slot, the same
question over a, b, c in another, has both unmasked, and takes the difference: d's update. Vaults
that believed the round named by the unmasking task gave both sums ("the second is round 2"), and
vaults that counted by the plan's digest gave both to two plans of one study that differ in a
comment. Two approved studies of different names do give both sums; as long as they trained alike,
for their equal seed, the difference was d's update to the last bits. The study's name is now part
of what training draws under secure aggregation; a control without it shows that the attack works.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.messages import (
    AnnounceReply,
    AnnounceTask,
    ErrorReply,
    MaskedReply,
    Masking,
    ShareReply,
    ShareTask,
    SiteReply,
    SiteTask,
    TrainTask,
    UnmaskReply,
    UnmaskTask,
    reply_from,
    task_digest,
    wire,
)
from infomri_core.messages.secure import context_of
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.secagg import Collector
from infomri_core.secagg.ring import SCALE
from infomri_core.secagg.update import _parts, ring_size, sum_from_ring
from infomri_core.site.site import Site
from infomri_core.training import fit
from infomri_core.training.fit import site_stream
from tests.support.securesites import (
    DrawnSite,
    Federation,
    federation,
    first_state,
    secure_plan,
)
from tests.support.vault_fakes import SHAPE

FAR = 4e9
KEY = "ab" * 16
ALL = ("a", "b", "c", "d")
ARM = "uniform-s0"


class HostileCentre:
    """Speaks to the vaults under ``plan`` with tasks of its own making, in one session of all."""

    def __init__(self, made: Federation, plan: Plan) -> None:
        self._made, self._plan, self.state = made, plan, first_state(plan)
        self._tasks: dict[int, TrainTask] = {}
        announced = self._ask(AnnounceTask(plan.text, 1, FAR, KEY, 2), ALL)
        keys = [reply.announcements for reply in announced if isinstance(reply, AnnounceReply)]
        self._announced = tuple(zip(*keys, strict=True))
        shared = self._ask(ShareTask(plan.text, 1, FAR, KEY, self._announced), ALL)
        self._shares = [reply.shares for reply in shared if isinstance(reply, ShareReply)]

    def _ask(self, task: SiteTask, names: tuple[str, ...]) -> list[SiteReply]:
        data = wire.encode(task.to_message())
        return [reply_from(wire.decode(self._made.jobs[name].handle(data))) for name in names]

    def train(self, slot: int, names: tuple[str, ...], number: int = 1) -> list[SiteReply]:
        """Round ``number`` from the study's first weights, masked in ``slot`` over ``names``."""
        shares = {name: box[slot] for name, box in zip(ALL, self._shares) if name in names}
        state, masking = self.state, Masking(KEY, slot, shares)
        task = TrainTask(self._plan.text, number, FAR, state.variance, state.arms, masking)
        self._tasks[slot] = task
        return self._ask(task, names)

    def unmask(self, slot: int, names: tuple[str, ...], as_round: int) -> list[SiteReply]:
        """The shares that undo the masks of ``slot``, asked for as those of ``as_round``."""
        return self._ask(UnmaskTask(self._plan.text, as_round, FAR, KEY, slot, names), names)

    def total(
        self,
        slot: int,
        names: tuple[str, ...],
        masked: list[SiteReply],
        unmasked: list[SiteReply],
    ) -> np.ndarray:
        """The sum over ``names`` of one arm's ring vectors, uint64."""
        task = self._tasks[slot]
        assert task.masking is not None
        sizes = {name: len(flat) for name, flat in task.arms.items()}
        context = context_of(self._plan.digest, KEY, slot)
        binding = task.masking.binding(task_digest(task))
        collector = Collector(
            ring_size(sizes, self._plan.task.reported_terms),
            context,
            3,
            self._announced[slot],
            names,
            binding=binding,
        )
        for name, reply in zip(names, masked, strict=True):
            assert isinstance(reply, MaskedReply)
            collector.add(name, reply.vector)
        given = {n: r.unmasking for n, r in zip(names, unmasked) if isinstance(r, UnmaskReply)}
        found = collector.total(given)
        assert (
            sum_from_ring(found, sizes, self._plan.task.reported_terms, len(names), True).n_samples
            > 0
        )
        return found


def codes(replies: list[SiteReply]) -> set[str]:
    return {r.code if isinstance(r, ErrorReply) else type(r).__name__ for r in replies}


def another(plan: Plan, old: str, new: str) -> Plan:
    assert old in plan.text
    return parse_plan(plan.text.replace(old, new))


@pytest.mark.parametrize("first", [ALL, ALL[:3]], ids=["all first", "three first"])
def test_a_round_named_otherwise_at_unmasking_gives_no_second_sum(
    tmp_path: Path, first: tuple[str, ...]
) -> None:
    second = ALL[:3] if first == ALL else ALL
    with federation(tmp_path, secure_plan()) as made:
        centre = HostileCentre(made, made.plan)
        assert codes(centre.train(0, first)) == {"MaskedReply"}
        assert codes(centre.train(1, second)) == {"MaskedReply"}
        assert codes(centre.unmask(0, first, 1)) == {"UnmaskReply"}
        assert codes(centre.unmask(1, second, 2)) == {"secure-aggregation"}
        again = centre.unmask(1, second, 1)
        assert codes(again[:3]) == {"secure-aggregation"}
        # Site d, where it was no part of the first sum, has no threshold of shares by itself.
        assert sum(isinstance(reply, UnmaskReply) for reply in again) < 3


def test_a_slot_that_was_never_used_is_not_unmasked(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        assert codes(HostileCentre(made, made.plan).unmask(0, ALL, 1)) == {"secure-aggregation"}


def test_an_honest_second_round_is_unmasked_over_fewer_sites(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        centre = HostileCentre(made, made.plan)
        centre.train(0, ALL), centre.unmask(0, ALL, 1)
        centre.train(1, ALL[:3], number=2)
        assert codes(centre.unmask(1, ALL[:3], 2)) == {"UnmaskReply"}


def test_two_plans_of_one_study_that_differ_in_a_comment_give_one_sum(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        centre = HostileCentre(made, made.plan)
        centre.train(0, ALL)
        assert codes(centre.unmask(0, ALL, 1)) == {"UnmaskReply"}
        for name in ALL:  # The ledger, not the vault's memory, knows it.
            made.start(name)
        other = HostileCentre(made, parse_plan(made.plan.text + "\n# the same study\n"))
        assert codes(other.train(0, ALL[:3])) == {"secure-aggregation"}
        assert codes(other.train(1, ALL)) == {"MaskedReply"}
        assert codes(other.unmask(1, ALL[:3], 1)) == {"secure-aggregation"}
        assert codes(other.unmask(1, ALL, 1)) == {"UnmaskReply"}


class TrainedSite(DrawnSite):
    """A vault's site that trains for real, on noise of its own; ``updates`` are what it made."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, n_train=8)
        self.updates: list[np.ndarray] = []
        self._site = Site(Noise(self.table, sum(name.encode())), name, folder)

    def run(self, plan: Plan, task: SiteTask, cancelled: Callable[[], bool]) -> SiteReply:
        if not isinstance(task, TrainTask):
            return super().run(plan, task, cancelled)
        reply = self._site.train(plan, task, cancelled)
        self.updates.append(reply.arms[ARM] - task.arms[ARM])
        return reply


class Noise(SliceDataset):
    """Pictures of uniform noise."""

    def __init__(self, table: SliceTable, seed: int) -> None:
        self.table, self.shape = table, SHAPE
        draws = np.random.default_rng(seed).random((len(table), *SHAPE), np.float32)
        self._images = torch.from_numpy(draws)

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._images[torch.from_numpy(np.asarray(indices))]


def error_of_the_difference(tmp_path: Path) -> float:
    """How far the difference of two studies' sums is from d's update, as a multiple of its norm.
    Each study, approved under a name of its own, has the same seed, weights and first round."""
    with federation(tmp_path, secure_plan()) as made:
        for name in ALL:
            made.drawn[name] = TrainedSite(name, tmp_path / name / "site")
            made.start(name)
        start = {n: 0.1 * flat for n, flat in _normal(first_state(made.plan).arms).items()}
        sums = []
        for name, sites in (("tiny", ALL), ("tinier", ALL[:3])):
            centre = HostileCentre(made, another(made.plan, 'name = "tiny"', f'name = "{name}"'))
            centre.state = replace(centre.state, arms=start)
            masked = centre.train(0, sites)
            sums.append(centre.total(0, sites, masked, centre.unmask(0, sites, 1)))
        n_of_d = int((sums[0] - sums[1])[0])
        sizes = {name: len(flat) for name, flat in start.items()}
        part = dict(_parts(sizes, made.plan.task.reported_terms))[ARM]
        found = (sums[0] - sums[1])[part][: sizes[ARM]].view(np.int64) / (SCALE * n_of_d)
        d = made.drawn["d"]
        assert isinstance(d, TrainedSite)
        (update,) = d.updates
        error = found - start[ARM] - update
        return float(np.linalg.norm(error) / np.linalg.norm(update))


def _normal(arms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    return {name: draws.normal(size=len(flat)).astype(np.float32) for name, flat in arms.items()}


def test_control_two_studies_that_train_alike_give_a_site_by_subtraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "site_stream", lambda plan, *named: (plan.study.seed, *named))
    assert error_of_the_difference(tmp_path) < 1e-3


def test_two_approved_studies_of_one_seed_give_no_site_by_subtraction(tmp_path: Path) -> None:
    assert error_of_the_difference(tmp_path) > 1


def test_without_masks_training_draws_as_it_always_did() -> None:
    plain, masked = secure_plan(secure=False), secure_plan()
    assert site_stream(plain, "a", 0, 1) == (plain.study.seed, "a", 0, 1)
    other = another(masked, 'name = "tiny"', 'name = "tinier"')
    assert site_stream(masked, "a", 0, 1) != site_stream(other, "a", 0, 1)
