"""What the study centre does not believe of a site's reply, and what it does not ask for twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from fl_server.central import of_one_site
from fl_server.run import checkpoint
from fl_server.run.events import Progress
from fl_server.study import enrolment
from fl_server.study.enrolment import Roster
from fl_server.study.evaluation.results import MergedScores
from fl_server.study.failure import StudyFailed
from infomri_core.messages import (
    DatasetCard,
    ErrorReply,
    EvaluateReply,
    MaskedReply,
    MomentsReply,
    Scores,
    SiteReply,
    SiteTask,
    TrainReply,
    reply_from,
    wire,
)
from infomri_core.messages.budget import Budget
from infomri_core.plan.reading import parse_plan
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram
from infomri_core.system.errors import Refused
from tests.support.small import local_sites, small_plan, small_table, study


def card(name: str) -> DatasetCard:
    return DatasetCard(name, 10, 40, (20,), (8, 8), ("finding",), {})


@pytest.mark.parametrize("name", ["", "../north", "/tmp/north", ".north", "a" * 65, "a\nb"])
def test_a_site_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        reply_from(wire.decode(wire.encode(card(name).to_message())))
    assert reply_from(wire.decode(wire.encode(card("north-1").to_message()))) == card("north-1")


@pytest.mark.parametrize(
    "odd",
    [
        {"n_samples": float("inf")},
        {"losses": []},
        {"losses": {"arm": 1}},
        {"dropped": 1},
        {"budget": 3.0},
        {"budget": [1.0]},
        {"budget": ["nan", 8.0]},
        {"budget": [-0.1, 8.0]},
        {"budget": [1.0, 0.0]},
        {"budget": [1.0, 1e7]},
        {"budget": {"spent": 1.0, "limit": 8.0}},
    ],
)
def test_an_odd_header_is_a_refusal_and_never_another_error(odd: dict[str, object]) -> None:
    header = {"n_samples": 5, "losses": {}, "dropped": [], "epsilon": None, **odd}
    with pytest.raises(Refused):
        reply_from(wire.decode(wire.encode(wire.Message("trained", header))))


def test_a_budget_arrives_as_it_left_with_every_kind_of_update() -> None:
    arrays = np.zeros(3, np.uint64), np.zeros((2, 8, 8), np.float32)
    budget = Budget(1.25, 8.0)
    for reply in (
        TrainReply(5, {}, epsilon=0.5, budget=budget),
        MaskedReply(arrays[0], 0.5, budget),
        MomentsReply(arrays[1], 5, 0.5, budget),
    ):
        read = reply_from(wire.decode(wire.encode(reply.to_message())))
        assert isinstance(read, TrainReply | MaskedReply | MomentsReply)
        assert (read.epsilon, read.budget) == (0.5, budget)


class Coming:
    """Sites of which ``there`` are online; those whose name begins with 'no' refuse to enrol, and
    those in ``busy`` do so once. ``names`` are their cards' where not the node's."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.busy: set[str] = set()
        self.names: dict[str, str] = {}

    def online(self) -> list[str]:
        return self.there

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        for node in to:
            if node in self.busy:
                self.busy.remove(node)
                yield node, ErrorReply("stopping", "this site is stopping; ask again later")
            elif node.startswith("no"):
                yield node, ErrorReply("not-approved", "no")
            else:
                yield node, card(self.names.get(node, node))


def test_a_site_that_refused_and_left_takes_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, plan = Coming(), small_plan(quorum=2, deadline_seconds=0.01)
    monkeypatch.setattr(enrolment, "POLL_SECONDS", 0.0)
    members = Roster(sites, plan, Progress(tmp_path / "events.jsonl"))
    sites.there = ["no-1", "a"]
    with pytest.raises(StudyFailed):
        members.participants(1)
    sites.there = ["a", "b"]
    assert members.participants(1) == ["a", "b"]


def test_a_site_that_refused_for_a_passing_reason_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(enrolment, "RETRY_SECONDS", 0.05)
    sites, plan = Coming(), small_plan(quorum=2, deadline_seconds=5.0)
    sites.there, sites.busy = ["a", "b"], {"b"}
    members = Roster(sites, plan, Progress(tmp_path / "events.jsonl"))
    assert members.participants(1) == ["a", "b"]


def test_two_nodes_cannot_take_part_under_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "POLL_SECONDS", 0.0)
    sites, plan = Coming(), small_plan(quorum=1, deadline_seconds=0.05)
    sites.there, sites.names = ["1", "2"], {"1": "north", "2": "north"}
    members = Roster(sites, plan, Progress(tmp_path / "events.jsonl"))
    assert members.participants(1) == ["1"]
    assert "another node takes part as site north" in (tmp_path / "events.jsonl").read_text()
    sites.there = ["3"]
    sites.names["3"] = "north"
    assert members.participants(2) == ["3"], "a site with a new key takes its own place"


def test_a_plan_for_three_hospitals_runs_on_pooled_data(tmp_path: Path) -> None:
    table = small_table(rounds=1, quorum=3)
    plan = parse_plan(tomli_w.dumps(table | {"aggregation": {"secure": True}}))
    alone = of_one_site(plan)
    assert alone.digest == plan.digest
    study(alone, local_sites(tmp_path, ("a",)), tmp_path).train()
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints", alone.digest)
    assert saved is not None and saved.round == 1


def scores(n_slots: int, n_labels: int) -> Scores:
    labels = np.array([[0], [1], [0], [1]]).repeat(n_labels, 1)
    whole = ScoreHistogram.from_scores(labels - 0.5, labels, np.zeros(4, np.int64))
    return Scores(whole.pooled(np.zeros(SLOTS, np.int64)) if n_slots == SLOTS else _cut(whole), {})


def _cut(whole: ScoreHistogram) -> ScoreHistogram:
    return ScoreHistogram(*(array[:-1] for array in whole.to_arrays().values()))


def test_scores_of_another_form_never_crowd_out_the_honest_ones() -> None:
    plan = small_plan()
    cell, n, n_labels = ("uniform-s0", 4.0), SLOTS, len(plan.task.labels)
    merged = MergedScores(plan)
    for odd in (scores(n - 1, n_labels), scores(n, n_labels + 1)):
        assert not merged.add("hostile", EvaluateReply(10, {cell: odd}))
    elsewhere = {("no-such-arm", 4.0): scores(n, n_labels)}
    assert not merged.add("hostile", EvaluateReply(10, elsewhere))
    assert merged.add("honest", EvaluateReply(10, {cell: scores(n, n_labels)}))
    assert set(merged.sites) == {"honest"}


def test_the_order_in_which_sites_answer_changes_no_bit() -> None:
    plan, draw = small_plan(), np.random.default_rng(0)
    cell, n_labels = ("uniform-s0", 4.0), len(plan.task.labels)
    replies = {}
    for site in "abc":
        labels = draw.integers(0, 2, (50, n_labels))
        histogram = ScoreHistogram.from_scores(
            labels + draw.normal(size=labels.shape), labels, np.arange(50) % SLOTS
        )
        quality = ImageQuality.from_images(draw.random((50, 4)), np.arange(50) % SLOTS)
        replies[site] = EvaluateReply(50, {cell: Scores(histogram, {"lmmse": quality})})
    found = []
    for order in ("abc", "cba", "bca"):
        merged = MergedScores(plan)
        assert all(merged.add(site, replies[site]) for site in order)
        scores = merged.scores[cell]
        estimates = scores.task.auroc_estimate(), scores.quality["lmmse"].estimate("psnr")
        found.append((estimates, merged.by_site, merged.sites))
    assert found[0] == found[1] == found[2]
    assert found[0][0][0].n_groups == 3 * SLOTS
