"""A hostile centre wants one site's update out of secure aggregation.

Training repeats bit for bit. So the centre trains round 1 over a, b, c, d in one slot, the same
question over a, b, c in another, has both unmasked, and takes the difference: d's update. Vaults
that believed the round named by the unmasking task gave both sums ("the second is round 2"), and
vaults that counted by the plan's digest gave both to two plans of one study that differ in a
comment. The attack's machinery is proved by a control: two studies of different names, both
approved, still give both sums (docs/threat-model.md, "What remains").
"""

from pathlib import Path

import numpy as np
import pytest

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
    question_of,
    reply_from,
    wire,
)
from infomri_core.messages.secure import context_of
from infomri_core.plan.plan import Plan, parse_plan
from infomri_core.secagg import Collector
from infomri_core.secagg.update import ring_size, sum_from_ring
from tests.support.securesites import Federation, federation, first_state, secure_plan

FAR = 4e9
KEY = "ab" * 16
ALL = ("a", "b", "c", "d")


class HostileCentre:
    """Speaks to the vaults under ``plan`` with tasks of its own making, in one session of all."""

    def __init__(self, made: Federation, plan: Plan) -> None:
        self._made, self._plan, self._state = made, plan, first_state(plan)
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
        state, masking = self._state, Masking(KEY, slot, shares)
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
        binding = task.masking.binding(question_of(task))
        collector = Collector(
            ring_size(sizes), context, 3, self._announced[slot], names, binding=binding
        )
        for name, reply in zip(names, masked, strict=True):
            assert isinstance(reply, MaskedReply)
            collector.add(name, reply.vector)
        given = {n: r.unmasking for n, r in zip(names, unmasked) if isinstance(r, UnmaskReply)}
        found = collector.total(given)
        assert sum_from_ring(found, sizes, len(names), True).n_samples > 0
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


def test_control_two_approved_studies_of_other_names_give_the_site_by_subtraction(
    tmp_path: Path,
) -> None:
    with federation(tmp_path, secure_plan()) as made:
        whole = HostileCentre(made, made.plan)
        masked = whole.train(0, ALL)
        sum_of_four = whole.total(0, ALL, masked, whole.unmask(0, ALL, 1))
        part = HostileCentre(made, another(made.plan, 'name = "tiny"', 'name = "tinier"'))
        masked, three = part.train(0, ALL[:3]), ALL[:3]
        sum_of_three = part.total(0, three, masked, part.unmask(0, three, 1))
        n_of_d = int((sum_of_four - sum_of_three)[0])
        assert n_of_d == int((made.drawn["d"].table.split == "train").sum())
