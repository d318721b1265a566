"""A hostile centre wants one site's scores out of secure aggregation.

The noise of scores is made of the question, so that asking again gives the same bytes: two sums of
one scoring over different sites would differ by exactly one site's vector. And what one site sends
must say nothing without its masks.
"""

from pathlib import Path

import numpy as np
from scipy import stats

from infomri_core.messages import (
    AnnounceReply,
    AnnounceTask,
    MaskedReply,
    Masking,
    ShareReply,
    ShareTask,
    SiteReply,
    SiteTask,
    UnmaskReply,
    UnmaskTask,
    reply_from,
    wire,
)
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.ring import scores_to_ring
from tests.redteam.test_two_slots import codes
from tests.secagg.test_secure_scores import bare, noised_plan, scoring
from tests.support.securesites import Federation, federation

__all__ = ["bare"]
FAR = 4e9
ALL = ("a", "b", "c", "d")


class HostileCentre:
    """Speaks to the vaults with tasks of its own making, in one session of ``n_slots``."""

    def __init__(self, made: Federation, key: str = "cd" * 16, n_slots: int = 2) -> None:
        self._made, self._key, self._plan = made, key, made.plan
        self._round, self.task = made.plan.training.rounds, scoring(made.plan)[0]
        head: tuple[str, int, float, str] = (self._plan.text, self._round, FAR, key)
        announced = self.ask(AnnounceTask(*head, n_slots), ALL)
        keys = [reply.announcements for reply in announced if isinstance(reply, AnnounceReply)]
        shared = self.ask(ShareTask(*head, tuple(zip(*keys, strict=True))), ALL)
        self._shares = [reply.shares for reply in shared if isinstance(reply, ShareReply)]

    def ask(self, task: SiteTask, names: tuple[str, ...]) -> list[SiteReply]:
        data = wire.encode(task.to_message())
        return [reply_from(wire.decode(self._made.jobs[name].handle(data))) for name in names]

    def score(self, slot: int, names: tuple[str, ...]) -> list[SiteReply]:
        """The scoring, masked in ``slot`` over ``names``."""
        boxes = zip(ALL, self._shares, strict=True)
        shares = {name: box[slot] for name, box in boxes if name in names}
        masking = Masking(self._key, slot, shares)
        return self.ask(type(self.task)(**{**vars(self.task), "masking": masking}), names)

    def unmask(
        self, slot: int, names: tuple[str, ...], job: str = "evaluate", number: int = 0
    ) -> list[SiteReply]:
        """The shares that undo the masks of ``slot``, asked for as those of ``job``."""
        number = number or self._round
        task = UnmaskTask(self._plan.text, number, FAR, self._key, slot, names, job)
        return self.ask(task, names)


def test_two_sums_of_one_scoring_over_other_sites_are_refused(tmp_path: Path) -> None:
    with federation(tmp_path, noised_plan()) as made:
        centre = HostileCentre(made)
        assert codes(centre.score(0, ALL)) == {"MaskedReply"}
        assert codes(centre.score(1, ALL[:3])) == {"MaskedReply"}
        assert codes(centre.unmask(0, ALL)) == {"UnmaskReply"}
        assert codes(centre.unmask(1, ALL[:3])) == {"secure-aggregation"}
        for name in ALL:  # The ledger, not the vault's memory, knows it.
            made.start(name)
        again = HostileCentre(made, "ef" * 16)
        assert codes(again.score(0, ALL[:3])) == {"secure-aggregation"}
        assert codes(again.score(1, ALL)) == {"MaskedReply"}
        assert codes(again.unmask(1, ALL[:3])) == {"secure-aggregation"}
        assert codes(again.unmask(1, ALL)) == {"UnmaskReply"}


def test_scores_are_not_unmasked_as_a_round_of_training(tmp_path: Path) -> None:
    with federation(tmp_path, noised_plan()) as made:
        centre = HostileCentre(made)
        centre.score(0, ALL), centre.score(1, ALL[:3])
        assert codes(centre.unmask(0, ALL)) == {"UnmaskReply"}
        for number in (1, 2):
            refused = centre.unmask(1, ALL[:3], "train", number)
            assert codes(refused) == {"secure-aggregation"}
        assert not any(isinstance(r, UnmaskReply) for r in centre.unmask(1, ALL[:3]))


def sent_and_true(folder: Path, plan: Plan, seen: dict) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """What site a sent of its scores, and what they are, as vectors of the ring."""
    with federation(folder, plan) as made:
        centre = HostileCentre(made)
        reply = centre.score(0, ALL)[0]
        assert isinstance(reply, MaskedReply)
        _, noise = scoring(plan)
        return reply.vector, scores_to_ring(seen["a"], noise.form, centre.task.attacks)


def test_what_one_site_sends_is_uniform_and_differs_from_its_sums_by_a_new_random_vector(
    tmp_path: Path,
    bare: dict,  # type: ignore[type-arg]
) -> None:
    plan, sent, masks = noised_plan(), [], []
    for i in range(6):
        vector, true = sent_and_true(tmp_path / str(i), plan, bare)
        sent.append(vector)
        masks.append(vector - true)
    # The scores are the same each time; nothing that left is, and nothing of it repeats.
    everything = np.concatenate(sent)
    assert len(np.unique(everything)) == everything.size
    for vectors in (sent, masks):
        in_bytes = np.bincount(np.concatenate(vectors).view(np.uint8), minlength=256)
        assert stats.chisquare(in_bytes).pvalue > 1e-6
        high = np.concatenate(vectors).astype(np.float64) / 2.0**64
        assert stats.kstest(high, "uniform").pvalue > 1e-6
    bits = np.unpackbits((sent[0] ^ sent[1]).view(np.uint8))
    assert stats.binomtest(int(bits.sum()), len(bits)).pvalue > 1e-6
