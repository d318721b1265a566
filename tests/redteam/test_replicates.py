"""Bootstrap replicates gave single patients away; groups of patients give groups.

The attack: a histogram bin that holds one slice shows, across the replicates, how often its owner
was drawn. So the secret weights can be read off the reply, and they invert every other summary.
"""

from pathlib import Path

import numpy as np
import pytest

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateReply, EvaluateTask, reply_from, wire
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.summaries.cohorts import count_groups
from infomri_core.summaries.groups import SLOTS, partition
from infomri_core.summaries.metrics import ScoreHistogram
from tests.client.test_release import Hospital, hospital, plan_of
from tests.support.small import site_uri
from tests.support.vault_fakes import FAR

COHORT = 3
MANY = site_uri("a").replace("patients=20", "patients=90")


def question(plan: Plan) -> EvaluateTask:
    """An honest study's scoring, with one floor."""
    arms = {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms}
    floors = {"mean": {"image": np.full((32, 32), 0.3, np.float32)}}
    return EvaluateTask(plan.text, plan.training.rounds, FAR, arms, floors)


def asked(there: Hospital, plan: Plan | None = None) -> EvaluateReply:
    reply = there.ask(question(plan or plan_of()))
    assert isinstance(reply, EvaluateReply), reply
    return reply


def separated(sums: np.ndarray) -> set[tuple[int, ...]]:
    """Weights of single patients in sums (R, bins) over resamples: the columns in which the data
    (row 0) have one slice. Each says, replicate by replicate, how often its owner was drawn."""
    return {tuple(sums[:, k].tolist()) for k in np.flatnonzero(sums[0] == 1)}


def test_replicates_would_give_every_patients_findings_and_pixels() -> None:
    draw, n = np.random.default_rng(0), 24
    scores = np.sort(draw.uniform(-7.9, 7.9, n))
    bins = ((scores / 8 + 1) * 32).astype(int)
    findings, pixels = draw.integers(0, 2, n), draw.random(n)
    weights = np.vstack([np.ones(n), draw.multinomial(n, np.full(n, 1 / n), size=400)])
    histogram = weights @ np.eye(64)[bins]
    alone = [k for k in range(n) if (bins == bins[k]).sum() == 1]
    read = separated(histogram)
    assert len(read) == len(alone) >= n // 2
    assert read == {tuple(weights[:, k].tolist()) for k in alone}
    # With the weights in hand, sums over patients are solved for the patients.
    for secret in (findings, pixels):
        solved = np.linalg.lstsq(weights, weights @ secret)[0]
        assert solved == pytest.approx(secret, abs=1e-9)


def test_from_a_real_reply_nobody_is_separated_below_a_group(tmp_path: Path) -> None:
    with hospital(tmp_path, uri=MANY, min_cohort=COHORT) as there:
        reply = asked(there)
        n_patients = len(there.scored)
        arrays = reply.to_message().arrays
        assert {len(array) for array in arrays.values()} == {SLOTS}
        for scores in reply.scores.values():
            weight = scores.quality["mean"].weight
            used = weight[weight > 0]
            assert 2 <= len(used) == min(SLOTS, n_patients // COHORT)
            assert used.min() >= COHORT, "one attacked slice a patient"
            # All that is said of a slot are sums: the data give as many equations as groups.
            counts = scores.task.counts.reshape(SLOTS, -1)
            assert np.linalg.matrix_rank(counts) <= len(used)
            assert (scores.task.total[scores.task.total > 0] >= COHORT).all()


def test_a_summary_knows_of_a_group_its_sum_and_nothing_of_who_is_who() -> None:
    draw = np.random.default_rng(1)
    patients = np.repeat(np.arange(30), 2)
    slots = partition(patients, "key", 5)
    logits, labels = draw.normal(size=(60, 2)), draw.integers(0, 2, (60, 2))
    shuffled = np.arange(60)
    for slot in range(SLOTS):
        rows = np.flatnonzero(slots == slot)
        shuffled[rows] = draw.permutation(rows)
    first = ScoreHistogram.from_scores(logits, labels, slots).to_arrays()
    other = ScoreHistogram.from_scores(logits[shuffled], labels[shuffled], slots).to_arrays()
    assert all(np.array_equal(first[name], other[name]) for name in first)


def test_the_old_key_changes_nothing_that_leaves(tmp_path: Path) -> None:
    plan = plan_of()
    replies = []
    for count in (20, 400):
        text = plan.text.replace("[evaluation]", f"[evaluation]\nreplicates = {count}")
        old = parse_plan(text)
        assert old.evaluation.replicates == count
        with hospital(tmp_path / str(count), min_cohort=COHORT) as there:
            replies.append(wire.encode(asked(there, old).to_message()))
    assert replies[0] == replies[1]


def test_the_partition_is_the_same_for_every_plan_and_after_a_restart(tmp_path: Path) -> None:
    data = open_dataset(MANY)
    plan = plan_of()
    other = parse_plan(
        plan.text.replace('name = "', 'name = "another-').replace("seed = ", "seed = 1")
    )
    assert other.digest != plan.digest
    found = [
        Site(data, "a", tmp_path, secret=secret, min_cohort=COHORT).groups(asked_by)
        for secret, asked_by in (("k", plan), ("k", other), ("k", plan), ("l", plan), ("", plan))
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3]), "another site's key, another partition"
    assert not np.array_equal(found[0], found[4]), "without the key it cannot be computed"
    groups = count_groups(data.table.patients[data.table.split == "val"], found[0])
    assert groups.patients[groups.patients > 0].min() >= COHORT


def test_a_scoring_with_other_images_in_every_cell_is_refused(tmp_path: Path) -> None:
    plan = plan_of()
    honest, n_labels = question(plan), len(plan.task.labels)
    image = np.zeros((32, 32), np.float32)
    own = {
        "centre": np.zeros(n_labels, np.float32),
        "scale": np.ones(n_labels, np.float32),
        "limits": np.zeros((2, n_labels), np.float32),
        "gain": np.ones(n_labels, np.float32),
    }
    cell = f"{plan.arms[0].name}|{plan.measurement.accelerations[0]!r}"
    numbers = {f"{cell}|{part}": array for part, array in own.items()}
    slopes = np.zeros((n_labels, 32, 32), np.float32)
    shared = {"mean": image, "slopes": slopes}
    more = np.zeros((n_labels + 1, 32, 32), np.float32)
    patterns = np.linspace(0, 1, 20, dtype=np.float32)[:, None].repeat(n_labels, 1)
    hostile = [
        {"diagnosis": {**shared, **numbers, f"{cell}|mean": image}},
        {"diagnosis": {"mean": image, **numbers, f"{cell}|slopes": slopes}},
        {"diagnosis": {**numbers, "mean": image, "slopes": more}},
        {"mean": {"image": image, f"{cell}|image": image}},
        {"class-means": {"means": np.zeros((20, 32, 32), np.float32), "patterns": patterns}},
    ]
    with hospital(tmp_path, min_cohort=COHORT) as there:
        for attacks in hostile:
            task = EvaluateTask(plan.text, honest.round, FAR, honest.arms, attacks)
            assert there.refusal(task) == "bad-task"
        fine = {"diagnosis": {**shared, **numbers}}
        reply = there.ask(EvaluateTask(plan.text, honest.round, FAR, honest.arms, fine))
        assert isinstance(reply, EvaluateReply), reply
        assert reply_from(wire.decode(wire.encode(reply.to_message()))) is not None
