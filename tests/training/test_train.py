"""The training loop: the same steps, however they are divided and wherever they stop."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten, unflatten
from infomri_core.data import open_dataset
from infomri_core.fitting.loop import Diverged, Stretch, learning_rate_factor
from infomri_core.messages import TrainTask
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.system.errors import Cancelled, InputError, Refused
from infomri_core.training.fit import beta_factor, train_steps
from tests.support.small import AUDIT_URI, site_uri, small_plan, small_table


def a_site(directory: Path) -> Site:
    return Site(open_dataset(site_uri("a")), "a", directory)


def start(plan: Plan) -> tuple[dict[str, np.ndarray], np.ndarray]:
    state = initial_state(plan, public_moments(open_dataset(AUDIT_URI).images(range(16))).variance)
    return state.arms, state.variance


def task(plan: Plan, number: int, arms: dict[str, np.ndarray], variance: np.ndarray) -> TrainTask:
    return TrainTask(plan.text, number, 0.0, variance, arms)


def never() -> bool:
    return False


def test_flat_weights_come_back_as_they_were() -> None:
    plan = small_plan()
    for arm in plan.arms:
        flat = flatten(build_model(plan, arm))
        other = build_model(plan, arm)
        unflatten(other, np.random.default_rng(0).normal(size=flat.shape).astype(np.float32))
        unflatten(other, flat)
        np.testing.assert_array_equal(flatten(other), flat)


def test_weights_of_another_length_are_refused() -> None:
    plan = small_plan()
    with pytest.raises(InputError, match="values"):
        unflatten(build_model(plan, plan.arms[0]), np.zeros(3, np.float32))


def test_training_lowers_the_loss_and_moves_the_policy(tmp_path: Path) -> None:
    plan = small_plan(rounds=1, local_steps=60, batch_size=16, beta_warmup=0.0)
    arms, variance = start(plan)
    site = a_site(tmp_path)
    before = {name: flat.copy() for name, flat in arms.items()}
    reply = site.train(plan, task(plan, 1, arms, variance), never)
    model = build_model(plan, plan.arms[0])
    learned = plan.arms[0].name
    unflatten(model, reply.arms[learned])
    moved = model.sampler.at(0.1).probability.detach()
    unflatten(model, before[learned])
    assert float((moved - model.sampler.at(0.1).probability.detach()).abs().max()) > 0.01
    assert reply.losses[learned]["ce"] < 0.69


def test_a_round_computed_again_gives_the_same_weights(tmp_path: Path) -> None:
    plan = small_plan()
    arms, variance = start(plan)
    site = a_site(tmp_path)
    first = site.train(plan, task(plan, 1, arms, variance), never)
    second = site.train(plan, task(plan, 2, dict(first.arms), variance), never)
    again = a_site(tmp_path).train(plan, task(plan, 2, dict(first.arms), variance), never)
    for name in arms:
        np.testing.assert_array_equal(second.arms[name], again.arms[name])


def test_training_stops_between_two_steps_when_cancelled(tmp_path: Path) -> None:
    plan = small_plan()
    arms, variance = start(plan)
    asked = []

    def after_two_steps() -> bool:
        asked.append(None)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        a_site(tmp_path).train(plan, task(plan, 1, arms, variance), after_two_steps)
    assert len(asked) == 3


def test_a_loss_that_is_not_finite_drops_that_arm_only(tmp_path: Path) -> None:
    plan = small_plan()
    arms, variance = start(plan)
    arms["uniform-s0"] = np.full_like(arms["uniform-s0"], 1e38)
    reply = a_site(tmp_path).train(plan, task(plan, 1, arms, variance), never)
    assert reply.dropped == ("uniform-s0",)
    assert set(reply.arms) == {plan.arms[0].name}


def test_data_of_another_kind_are_refused(tmp_path: Path) -> None:
    plan = small_plan()
    other = Site(open_dataset("phantom:?patients=8&slices=1&size=48"), "x", tmp_path)
    with pytest.raises(Refused, match="shape"):
        other.enrol(plan)


def test_the_steps_of_a_stretch_do_not_depend_on_where_it_was_cut() -> None:
    plan = small_plan(beta_warmup=0.0)
    dataset = open_dataset(AUDIT_URI)
    labels = torch.from_numpy(dataset.table.labels.astype(np.float32))

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return dataset.images(rows), labels[rows]

    variance = torch.from_numpy(start(plan)[1])
    penalty = MarginalEntropy(variance, plan.measurement.noise_std)

    def run(cut: bool) -> np.ndarray:
        model, state = build_model(plan, plan.arms[0], variance), None
        for i in range(2):
            if cut:
                flat = flatten(model)
                model = build_model(plan, plan.arms[0])
                unflatten(model, flat)
            stretch = Stretch(2 * i, 2, 4, ("s", i))
            _, new = train_steps(model, plan, 1e-3, penalty, 16, fetch, stretch, state)
            state = new
        return flatten(model)

    np.testing.assert_array_equal(run(cut=True), run(cut=False))


def test_divergence_is_noticed_before_weights_are_touched() -> None:
    plan = small_plan()
    model = build_model(plan, plan.arms[1])
    before = flatten(model)

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(rows), 32, 32), torch.nan), torch.zeros(len(rows), 3)

    with pytest.raises(Diverged):
        stretch = Stretch(0, 1, 1, ("s",))
        penalty = MarginalEntropy(torch.ones(2, 32, 32), plan.measurement.noise_std)
        train_steps(model, plan, 0.0, penalty, 8, fetch, stretch)
    np.testing.assert_array_equal(flatten(model), before)


def test_schedules_have_the_shape_they_state() -> None:
    betas = [beta_factor(step, 100, 0.25) for step in range(100)]
    assert betas[:26] == [0.0] * 26
    assert betas == sorted(betas)
    assert betas[50] == 1.0 and beta_factor(0, 100, 0.0) == 1.0
    rates = [learning_rate_factor(step, 100) for step in range(100)]
    assert max(rates) == 1.0 and rates[-1] < 0.01 and min(rates) > 0


def test_the_whitening_of_the_mouth_travels_with_the_weights(tmp_path: Path) -> None:
    table = small_table(rounds=1, local_steps=1)
    table["model"]["input"] = "whitened"
    plan = parse_plan(tomli_w.dumps(table))
    arms, variance = start(plan)
    model = build_model(plan, plan.arms[1])
    unflatten(model, arms["uniform-s0"])
    assert model.whitening is not None
    assert float(model.whitening.mean()) == pytest.approx(1, abs=1e-5)
    strongest = np.unravel_index(variance.sum(0).argmax(), (32, 32))
    assert model.whitening[strongest] == model.whitening.min() < 0.5
    reply = a_site(tmp_path).train(plan, task(plan, 1, arms, variance), never)
    unflatten(model, reply.arms["uniform-s0"])
    assert float(model.whitening.mean()) == pytest.approx(1, abs=1e-5)
