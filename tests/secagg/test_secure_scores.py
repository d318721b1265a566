"""A scoring under secure aggregation: the sum of all noised sums, and nothing of one site."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.memory import masking
from fl_server.study.evaluation.held_out import HeldOut
from fl_server.study.evaluation.noised_rows import NoiseTask
from fl_server.study.evaluation.results import MergedScores
from fl_server.study.failure import StudyFailed
from fl_server.study.secure.scores import gather_scores
from infomri_core.dp.outside_epsilon import summed_sentence
from infomri_core.messages import (
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    MaskedReply,
    reply_from,
    task_from,
    wire,
)
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import evaluation_mechanism, form_of, n_numbers
from infomri_core.score_noise.ring import ScoresSum, ring_size, scores_to_ring, sum_from_ring
from tests.support.securesites import Federation, absent, federation, first_state, secure_plan
from tests.support.vault_fakes import SHAPE, charges

NOISED: dict[str, Any] = {"attacks": ["lmmse"]}


def noised_plan() -> Plan:
    return secure_plan(evaluation=NOISED)


def scoring(plan: Plan) -> tuple[EvaluateTask, NoiseTask]:
    """What a study centre asks that has no held-out patients."""
    state, floor = first_state(plan), {"mean": {"image": np.zeros(SHAPE, np.float32)}}
    task = EvaluateTask(plan.text, plan.training.rounds, 4e9, state.arms, floor)
    noise = NoiseTask(plan, form_of(plan, task.arms, task.attacks), HeldOut())
    known, form = noise.held_out, noise.form
    return replace(task, reference=known.reference(form), expected=known.expected(form)), noise


def scored(made: Federation) -> tuple[list[str], ScoresSum]:
    """The sum that the study centre gets after the last round."""
    context, state = made.context(), first_state(made.plan)
    state.round = made.plan.training.rounds
    task, noise = scoring(made.plan)
    return gather_scores(context, state, task, noise.form)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> dict[str, EvaluateReply]:
    """What each site masked last, by its name."""
    seen: dict[str, EvaluateReply] = {}
    mask = masking.Sessions.mask

    def spy(self: Any, plan: Any, task: Any, reply: Any) -> MaskedReply:
        seen[self._name] = reply
        return mask(self, plan, task, reply)

    monkeypatch.setattr(masking.Sessions, "mask", spy)
    return seen


def total(replies: dict[str, EvaluateReply], family: str) -> np.ndarray:
    return np.sum([reply.sums[family] for reply in replies.values()], axis=0)


def test_the_sum_is_that_of_the_sites_noised_sums_and_no_summand_is_seen(
    tmp_path: Path, bare: dict[str, EvaluateReply]
) -> None:
    with federation(tmp_path, noised_plan()) as made:
        sites, found = scored(made)
        everything = [data for _, sent, answer in made.said for data in (sent, answer)]
        assert made.kinds("a") == ["card", "announced", "shared", "masked", "unmasked"]
    assert sites == ["a", "b", "c", "d"] and set(bare) == set(sites)
    assert found.n_patients == sum(reply.n_patients for reply in bare.values())
    for family, array in found.sums.items():
        np.testing.assert_array_equal(array, total(bare, family))
    for reply in bare.values():
        assert reply.noise == (evaluation_mechanism(noised_plan()) or (0.0,))[0]
        assert not any(reply.sums["scores"].tobytes()[:48] in data for data in everything)
    different = {reply.sums["scores"].tobytes() for reply in bare.values()}
    assert len(different) == 4, "each site adds a noise of its own"


def test_rows_of_the_sum_are_those_of_the_sites_and_none_is_of_one_site(
    tmp_path: Path, bare: dict[str, EvaluateReply]
) -> None:
    plan = noised_plan()
    with federation(tmp_path, plan) as made:
        sites, found = scored(made)
    _, noise = scoring(plan)
    known, summed = MergedScores(plan, noise=noise), MergedScores(plan, noise=noise)
    for site, reply in bare.items():
        assert known.add(site, reply)
    summed.add_sum(sites, found)
    for cell, figures in known.figures().items():
        for name, value in figures.items():
            assert summed.figures()[cell][name] == pytest.approx(value), name
    assert known.by_site and summed.by_site == []
    assert summed.sites == {"sum over a, b, c, d": sum(known.sites.values())}
    assert "sum over a, b, c, d" in summed_sentence({"summed_over": list(summed.summed)})
    assert summed_sentence({"summed_over": list(known.summed)}) == ""


def test_who_drops_out_is_not_in_the_sum_and_costs_no_other_site(
    tmp_path: Path, bare: dict[str, EvaluateReply]
) -> None:
    with federation(tmp_path, noised_plan()) as made:
        made.before = absent("d", "evaluate", 2)
        sites, found = scored(made)
    assert sites == ["a", "b", "c"] and set(bare) == {"a", "b", "c"}
    np.testing.assert_array_equal(found.sums["quality"], total(bare, "quality"))


def test_who_is_killed_after_it_delivered_is_in_the_sum(
    tmp_path: Path, bare: dict[str, EvaluateReply]
) -> None:
    with federation(tmp_path, noised_plan()) as made:

        def killed(name: str, message: wire.Message) -> None:
            if (name, message.kind) == ("b", "unmask"):
                made.start("b")

        made.before = killed
        sites, found = scored(made)
    assert sites == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(found.sums["scores"], total(bare, "scores"))


def test_below_the_quorum_there_is_no_sum_and_the_reason_is_told(tmp_path: Path) -> None:
    with federation(tmp_path, noised_plan(), names=("a", "b", "c")) as made:
        made.before = absent("b", "evaluate", 2)
        with pytest.raises(StudyFailed, match="scoring was answered by fewer than 3 sites"):
            scored(made)
        assert made.events().count("2 masked sums of scores came, 3 are needed") == 3
        assert "unmasked" not in made.kinds("a")


def test_the_same_scoring_under_new_masks_is_charged_once_and_reads_no_data(
    tmp_path: Path,
) -> None:
    """A study centre that died after the sum has the same one again."""
    with federation(tmp_path, noised_plan()) as made:
        made.train()
        first = scored(made)[1]
        for name in made.names:
            made.start(name)
            made.drawn[name].run = unread  # type: ignore[method-assign, assignment]
        again = scored(made)[1]
        kinds = made.kinds("a")
        paid = [e.privacy for e in charges(made.ledgers["a"]) if e.job == "evaluate"]
        masked = [e for e in made.ledgers["a"].entries() if e.kind == "masked"]
    for family, array in first.sums.items():
        np.testing.assert_array_equal(array, again.sums[family])
    assert kinds.count("announced") == 3
    assert len(paid) == 1
    assert [e.repetition for e in masked if e.job == "evaluate"] == [False, True]


def test_kept_scores_that_are_not_those_that_left_are_made_and_paid_for_again(
    tmp_path: Path,
) -> None:
    with federation(tmp_path, noised_plan()) as made:
        made.train()
        scored(made)
        changed = [p for p in (made.folder / "a" / "replies").glob("*") if _is_bare(p)]
        assert changed
        for path in changed:
            reply = reply_from(wire.decode(path.read_bytes()))
            assert isinstance(reply, EvaluateReply)
            sums = {family: array + 1 for family, array in reply.sums.items()}
            path.write_bytes(wire.encode(replace(reply, sums=sums).to_message()))
        scored(made)
        paid = {
            name: len([e for e in charges(made.ledgers[name]) if e.job == "evaluate"])
            for name in made.names
        }
    assert paid == {"a": 2, "b": 1, "c": 1, "d": 1}


def unread(*given: Any) -> Any:
    raise AssertionError("the data are read again")


def _is_bare(path: Path) -> bool:
    return wire.decode(path.read_bytes()).kind == "evaluated"


def test_scores_never_leave_a_site_bare_where_the_plan_wants_masks(tmp_path: Path) -> None:
    plan = noised_plan()
    with federation(tmp_path, plan) as made:
        data = wire.encode(scoring(plan)[0].to_message())
        reply = reply_from(wire.decode(made.jobs["a"].handle(data)))
        assert isinstance(reply, ErrorReply) and reply.code == "bad-task"
        assert "masked only" in reply.sentence


def test_a_task_with_masking_is_read_as_it_was_written(tmp_path: Path) -> None:
    with federation(tmp_path, noised_plan()) as made:
        scored(made)
        sent = [wire.decode(data) for name, data, _ in made.said if name == "a"]
    (asked,) = [task_from(message) for message in sent if message.kind == "evaluate"]
    assert isinstance(asked, EvaluateTask) and asked.masking is not None
    assert set(asked.masking.shares) == {"a", "b", "c", "d"}


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_a_sum_says_at_how_many_sites_an_attack_broke_down(n_sites: int, seed: int) -> None:
    task, noise = scoring(noised_plan())
    draws, form, attacks = np.random.default_rng(seed), noise.form, task.attacks
    replies = [
        EvaluateReply(
            int(draws.integers(5, 50)),
            {},
            failed={"mean": "memory"} if draws.random() < 0.5 else {},
            sums={f: draws.integers(-(2**40), 2**40, s) for f, s in form.shapes().items()},
        )
        for _ in range(n_sites)
    ]
    vectors = [scores_to_ring(reply, form, attacks) for reply in replies]
    found = sum_from_ring(np.sum(vectors, axis=0, dtype=np.uint64), form, attacks, n_sites)
    broke = sum("mean" in reply.failed for reply in replies)
    assert found.failed == ({"mean": {"memory": broke}} if broke else {})
    assert found.n_patients == sum(reply.n_patients for reply in replies)
    for family, array in found.sums.items():
        np.testing.assert_array_equal(array, np.sum([r.sums[family] for r in replies], axis=0))


@given(st.integers(0, 2**32))
def test_a_mask_that_is_left_in_a_sum_is_seen(seed: int) -> None:
    task, noise = scoring(noised_plan())
    form, attacks = noise.form, task.attacks
    assert ring_size(form, attacks) == 2 + 2 * len(attacks) + n_numbers(form)
    left = np.random.default_rng(seed).integers(0, 2**64, ring_size(form, attacks), np.uint64)
    with pytest.raises(ValueError, match="some masks are left"):
        sum_from_ring(left, form, attacks, 3)
