"""A study under secure aggregation: the plain study's weights, and nothing of a single site."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_server.study.failure import StudyFailed
from fl_server.study.round import train_round
from fl_server.study.secure.session import session_for
from infomri_core.messages import (
    EnrolTask,
    ErrorReply,
    MaskedReply,
    Masking,
    ShareTask,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    UnmaskTask,
    reply_from,
    task_from,
    wire,
)
from infomri_core.secagg import Participant
from infomri_core.system.errors import InputError, Refused
from tests.support.securesites import (
    absent,
    assert_same,
    federation,
    first_state,
    secure_plan,
)
from tests.support.vault_fakes import charges, make_plan


def test_the_weights_are_those_of_the_plain_study_bit_for_bit_and_no_summand_is_seen(
    tmp_path: Path,
) -> None:
    with federation(tmp_path / "plain", secure_plan(secure=False)) as plain:
        expected = plain.train()
        summands = [reply_from(wire.decode(out)) for _, _, out in plain.said]
    with federation(tmp_path / "secure", secure_plan()) as secure:
        state = secure.train()
        everything = [data for _, sent, answer in secure.said for data in (sent, answer)]
        kinds = [secure.kinds(name) for name in secure.names]
    assert_same(state, expected)
    trained = [reply for reply in summands if isinstance(reply, TrainReply)]
    assert len(trained) == 8
    for reply in trained:
        for flat in reply.arms.values():
            assert not any(flat[:8].tobytes() in data for data in everything)
    assert kinds[0] == ["card", "announced", "shared", *["masked", "unmasked"] * 2]
    assert "trained" not in {kind for left in kinds for kind in left}
    for entry, other in zip(state.history["rounds"], expected.history["rounds"], strict=True):
        assert (entry["sites"], entry["n_train"]) == (other["sites"], other["n_train"])
        assert (entry["masked"], other["masked"]) == (True, False)
        for name, terms in other["losses"].items():
            assert entry["losses"][name] == pytest.approx(terms, abs=1e-4)


def test_who_drops_out_after_sharing_costs_its_share_of_that_round_only(tmp_path: Path) -> None:
    states = []
    for secure in (False, True):
        with federation(tmp_path / str(secure), secure_plan(secure)) as made:
            made.before = absent("d", "train", 1)
            states.append(made.train())
    plain, masked = states
    assert_same(masked, plain)
    assert [r["sites"] for r in masked.history["rounds"]] == [["a", "b", "c"], list("abcd")]


def test_who_delivers_and_is_not_there_to_unmask_is_in_the_sum(tmp_path: Path) -> None:
    with federation(tmp_path / "plain", secure_plan(False)) as plain:
        expected = plain.train(1)
    with federation(tmp_path / "secure", secure_plan()) as secure:
        secure.before = absent("b", "unmask", 1)
        assert_same(secure.train(1), expected)


def test_a_vault_that_lost_its_keys_in_a_restart_takes_part_again(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    with federation(tmp_path / "plain", secure_plan(False), names=names) as plain:
        expected = plain.train()
    with federation(tmp_path / "secure", secure_plan(), names=names) as secure:
        context, state = secure.context(), first_state(secure.plan)
        train_round(context, state)
        secure.start("c")
        train_round(context, state)
        assert_same(state, expected)
        assert secure.kinds("a").count("announced") == 2


def test_with_too_few_sites_the_round_is_tried_again_and_then_the_study_fails(
    tmp_path: Path,
) -> None:
    with federation(tmp_path, secure_plan(), names=("a", "b", "c")) as made:
        made.before = absent("b", "train", 1)
        with pytest.raises(StudyFailed, match="round 1"):
            made.train()
        assert made.events().count("2 masked updates came, 3 are needed") == 3
        assert "unmasked" not in made.kinds("a")


def test_a_round_done_again_after_a_crash_ends_the_same(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        first = made.train(1)
        again = made.train(1)
    assert_same(first, again)


def test_a_resumed_study_makes_new_keys_and_ends_the_same(tmp_path: Path) -> None:
    with federation(tmp_path / "whole", secure_plan()) as whole:
        expected = whole.train()
    with federation(tmp_path / "resumed", secure_plan()) as made:
        state = made.train(1)
        train_round(made.context(), state)
        assert made.kinds("a").count("announced") == 2
    assert_same(state, expected)


def test_differential_privacy_is_debited_and_told_under_masks_too(tmp_path: Path) -> None:
    privacy = {"noise_multiplier": 2.0, "rate": 0.25, "lot": 4}
    budget = {"max_epsilon": 50.0, "report_budget": True}
    plan = secure_plan(privacy=privacy, evaluation={"attacks": ["lmmse"]})
    with federation(tmp_path, plan, names=("a", "b", "c"), policy=budget) as made:
        for site in made.drawn.values():
            site.tells_losses = False
        state = made.train(1)
        spent = [e.privacy for e in charges(made.ledgers["a"]) if e.job == "train"]
    assert [cost["noise_multiplier"] for cost in spent] == [2.0]
    assert set(state.history["epsilons"]) == set("abc")
    masked = [reply_from(wire.decode(out)) for name, _, out in made.said if name == "a"]
    (left,) = [reply for reply in masked if isinstance(reply, MaskedReply)]
    assert left.budget is not None and left.budget.limit == 50.0
    assert state.history["rounds"][0]["losses"] == {}


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.just("00" * 16),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
HEADER = st.fixed_dictionaries(
    dict.fromkeys(("session", "slots", "slot", "delivered", "shares", "masking"), JSON)
)


@given(st.sampled_from(["announce", "share", "unmask", "train"]), HEADER)
@settings(max_examples=60)
def test_whatever_stands_in_a_task_of_secure_aggregation_it_is_read_or_refused(
    kind: str, header: dict[str, Any]
) -> None:
    whole = {"plan": "", "round": 1, "deadline": 1.0, **header}
    arrays = {"variance": np.zeros(1)}
    for masking in (header["masking"], header):
        try:
            task_from(wire.Message(kind, whole | {"masking": masking}, arrays))
        except Refused as refusal:
            assert refusal.code == "bad-message"


def test_a_round_is_never_unmasked_over_other_sites(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        made.train(1)
        made.before = absent("d", "train", 1)
        with pytest.raises(StudyFailed):
            made.train(1)
        assert "was unmasked as the sum of a, b, c, d; two sums" in made.events()
        assert made.kinds("a").count("unmasked") == 1


@pytest.mark.parametrize("empty", [False, True])
def test_nor_is_it_where_the_centre_says_that_a_site_was_in_the_sum(
    tmp_path: Path, empty: bool
) -> None:
    with federation(tmp_path, secure_plan()) as made:
        made.train(1)
        context, state = made.context(), first_state(made.plan)
        session = session_for(context, context.roster.participants(1), 1)
        assert session is not None
        nodes = {name: node for node, name in session.members.items()}
        shares = {name: session.shares[0][name] for name in "abc"} | ({"d": {}} if empty else {})
        masking = Masking(session.key, 0, shares)
        task = TrainTask(made.plan.text, 1, 4e9, state.variance, state.arms, masking)
        said = list(made.sites.ask(task, [nodes[name] for name in "abc"]))
        unmask = UnmaskTask(made.plan.text, 1, 4e9, session.key, 0, ("a", "b", "c", "d"))
        said += made.sites.ask(unmask, [nodes[name] for name in "abc"])
        assert [type(reply) for _, reply in said[3:]] == [ErrorReply] * 3
        assert made.kinds("a").count("masked") == 1


class Swapping:
    """A centre that puts keys of its own in the place of a site's."""

    def __init__(self, sites: Any) -> None:
        self._sites = sites

    def online(self) -> list[str]:
        return self._sites.online()

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        if isinstance(task, ShareTask):
            task = replace(
                task,
                announcements=tuple(
                    tuple(_swapped(a) if a.name == "b" else a for a in announced)
                    for announced in task.announcements
                ),
            )
        return self._sites.ask(task, to)


def _swapped(announcement: Any) -> Any:
    key = ec.generate_private_key(ec.SECP384R1())
    trusted = {"b": key.public_key()}
    return Participant("b", b"any context", key, trusted).announcement


def test_a_centre_that_swaps_keys_gets_nothing(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        made.sites = Swapping(made.sites)
        with pytest.raises(StudyFailed):
            made.train()
        assert "an announcement is not its site's own" in made.events()
        assert all(set(made.kinds(n)) == {"card", "announced", "error"} for n in made.names)


def test_the_same_message_again_gets_the_same_bytes(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        made.train(1)
        for name, sent, answer in list(made.said):
            assert made.jobs[name].handle(sent) == answer


def test_an_arm_that_diverges_at_one_site_is_the_mean_over_the_others(tmp_path: Path) -> None:
    states, events = [], ""
    for secure in (False, True):
        with federation(tmp_path / str(secure), secure_plan(secure)) as made:
            made.drawn["b"].diverges = ("uniform-s0",)
            states.append(made.train(1))
            events = made.events()
    assert_same(*states)
    assert "arm uniform-s0 diverged at 1 of 4 sites, which ones is hidden" in events


def test_weights_never_leave_a_site_bare_where_the_plan_wants_masks(tmp_path: Path) -> None:
    plan = secure_plan()
    with federation(tmp_path, plan) as made:
        state = first_state(plan)
        task = TrainTask(plan.text, 1, 4e9, state.variance, state.arms)
        reply = reply_from(wire.decode(made.jobs["a"].handle(wire.encode(task.to_message()))))
        assert isinstance(reply, ErrorReply) and reply.code == "bad-task"
        assert made.kinds("a") == ["error"]


def test_a_site_without_keys_does_not_enrol(tmp_path: Path) -> None:
    with federation(tmp_path, secure_plan()) as made:
        (tmp_path / "keys" / "sites.toml").unlink()
        task = EnrolTask(made.plan.text, 4e9)
        reply = reply_from(wire.decode(made.jobs["a"].handle(wire.encode(task.to_message()))))
        assert isinstance(reply, ErrorReply)
        assert "this site is not set up for secure aggregation" in reply.sentence


@pytest.mark.parametrize(
    ("aggregation", "quorum", "reason"),
    [
        ({"strategy": "median"}, 3, "a robust aggregator must see each site's weights"),
        ({"strategy": "multi-krum"}, 5, "a robust aggregator must see"),
        ({}, 2, "of a sum of two, each site knows the other's part"),
        ({"threshold": 4}, 3, "could not be unmasked"),
        ({"degree": 5}, 3, "an even number"),
    ],
)
def test_plans_that_secure_aggregation_cannot_serve_are_refused_with_the_reason(
    aggregation: dict[str, Any], quorum: int, reason: str
) -> None:
    training = {"rounds": 2, "quorum": quorum}
    make_plan(aggregation=aggregation, training=training)
    with pytest.raises(InputError, match=reason):
        make_plan(aggregation={"secure": True, **aggregation}, training=training)
