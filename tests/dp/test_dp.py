"""DP-SGD: whose gradient is whose, what the noise is, and who is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.dp.dp import MARGIN, PrivateGradients, add_clipped, units_of
from infomri_core.dp.lattice import Lattice
from infomri_core.dp.per_sample import check_layers
from infomri_core.messages import TrainTask
from infomri_core.models.resnet import ResNet18
from infomri_core.physics.entropy import marginal_entropy
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import draw_masks
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.system.errors import InputError
from tests.support.small import small_table
from tests.training.test_train import a_site, never, start

N_IMAGES = 12
VARIANCE = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(4)) + 0.01


def private_plan(constraint: str = "2d", exclusive: bool = False, **privacy: Any) -> Plan:
    """A plan with the one ratio 0.2."""
    table = small_table()
    table["measurement"] = {
        "constraint": constraint,
        "ratio_range": [0.2, 0.2],
        "accelerations": [5.0],
    }
    table["task"]["exclusive"] = exclusive
    table["privacy"] = {"noise_multiplier": 1.0, "rate": 0.2, "lot": 4, **privacy}
    return parse_plan(tomli_w.dumps(table))


def model_of(plan: Plan, arm: int = 0) -> SampledModel:
    """A model none of whose gradients is zero: that of the policy's hidden layer would be."""
    model = build_model(plan, plan.arms[arm], VARIANCE)
    if arm == 0:
        with torch.no_grad():
            model.sampler.get_parameter("policy.output_weight").normal_(
                generator=torch_generator("w")
            )
    return model


def images_and_labels(plan: Plan, n: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch_generator("batch", n)
    images = scale * torch.rand(n, 32, 32, generator=g)
    k = len(plan.task.labels)
    labels = torch.nn.functional.one_hot(torch.randint(k, (n,), generator=g), k).float()
    return images, labels


def penalty(plan: Plan) -> MarginalEntropy:
    return MarginalEntropy(VARIANCE, plan.measurement.noise_std)


def gradients(
    plan: Plan, model: SampledModel, units: int = N_IMAGES, seed: str = "s", scale: float = 1.0
) -> PrivateGradients:
    images, labels = images_and_labels(plan, units, scale)
    rows = [np.array([i]) for i in range(units)]
    stream = SecretStream.public(seed)
    return PrivateGradients(
        plan,
        penalty(plan),
        rows,
        lambda r: (images[r], labels[r]),
        stream,
    )


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def clipped_sum(
    model: SampledModel, plan: Plan, clip: float, n: int = 5, scale: float = 1.0
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The clipped sum, and every sample's gradient by a backward pass of its own."""
    images, labels = images_and_labels(plan, n, scale)
    generator = torch_generator("masks")
    probabilities = model.sampler.at(0.2).probability
    policy = [p for p in model.sampler.parameters() if p.requires_grad]
    masks = draw_masks(probabilities.detach(), n, generator=generator)
    kspace = model.measure(images, torch.ones_like(masks), generator)
    total = {p: torch.zeros_like(p) for p in model.parameters()}
    add_clipped(model, probabilities, policy, masks, kspace, labels, 0.0, clip, total)
    alone = []
    for i in range(n):
        through = masks[i : i + 1] + (probabilities - probabilities.detach())
        output = model.output(through * kspace[i : i + 1])
        ce = model.task.losses(output, labels[i : i + 1])["ce"].sum()
        found = torch.autograd.grad(ce, list(total), retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(total, found)]
        alone.append(torch.cat([g.flatten() for g in parts]))
    return torch.cat([g.flatten() for g in total.values()]), alone


@pytest.mark.parametrize("constraint", ["2d", "1d"])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("arm", [0, 1], ids=["learned", "fixed"])
def test_the_clipped_sum_is_that_of_each_sample_by_itself(
    constraint: str, exclusive: bool, arm: int
) -> None:
    plan = private_plan(constraint, exclusive)
    model = model_of(plan, arm)
    for clip in (1e9, 0.5, 1e-3):
        total, alone = clipped_sum(model, plan, clip)
        expected = sum(g * min(1.0, clip / float(g.norm())) for g in alone)
        assert torch.allclose(total, torch.as_tensor(expected), rtol=2e-3, atol=1e-5 * clip)


def test_the_embedding_has_a_gradient_of_each_sample() -> None:
    plan = private_plan()
    model = model_of(plan)
    _, alone = clipped_sum(model, plan, 1.0)
    n = model.sampler.get_parameter("policy.embedding").numel()
    assert all(int((g[:n] != 0).sum()) > n // 2 for g in alone)
    assert len({float(g[:n].norm()) for g in alone}) == len(alone)


@settings(max_examples=8, deadline=None)
@given(clip=st.floats(1e-3, 10.0), n=st.integers(1, 6), scale=st.sampled_from([0.01, 1.0, 100.0]))
def test_one_unit_never_moves_the_sum_by_more_than_clip(clip: float, n: int, scale: float) -> None:
    plan = private_plan()
    model = model_of(plan)
    total, _ = clipped_sum(model, plan, clip, n, scale)
    assert float(total.norm()) <= n * clip * 1.001
    alone, _ = clipped_sum(model, plan, clip, 1, scale)
    assert float(alone.norm()) <= clip * 1.001


def test_a_sample_that_is_not_finite_adds_nothing() -> None:
    plan = private_plan()
    model = model_of(plan)
    images, labels = images_and_labels(plan, 3)
    probabilities = model.sampler.at(0.2).probability
    policy = list(model.sampler.parameters())
    masks = draw_masks(probabilities.detach(), 3, generator=torch_generator("m"))
    kspace = model.measure(images, torch.ones_like(masks), torch_generator("n"))
    kspace[1] = torch.nan

    def run(keep: list[int]) -> torch.Tensor:
        total = {p: torch.zeros_like(p) for p in model.parameters()}
        parts = (masks[keep], kspace[keep], labels[keep])
        add_clipped(model, probabilities, policy, *parts, 0.0, 1.0, total)
        return torch.cat([g.flatten() for g in total.values()])

    assert torch.allclose(run([0, 1, 2]), run([0, 2]), atol=1e-6)
    assert float(run([1]).abs().max()) == 0.0


def test_layers_that_mix_samples_or_are_unknown_are_refused() -> None:
    check_layers(ResNet18(2, 2, (32, 32), 4))
    with pytest.raises(InputError, match="BatchNorm2d"):
        check_layers(ResNet18(2, 2, (32, 32), 4, "batch"))
    with pytest.raises(InputError, match="Conv2d"):
        check_layers(nn.Conv2d(4, 4, 3, groups=2))


@pytest.mark.parametrize("lot", [64, 512])
@pytest.mark.parametrize("units", [0, 1, 12])
def test_the_entropy_gradient_is_that_of_the_mean_whoever_was_drawn(lot: int, units: int) -> None:
    plan = private_plan(noise_multiplier=1e-6, lot=lot, clip=1e-6)
    model = model_of(plan)
    masks = draw_masks(model.sampler.at(0.2).probability, 1000, generator=torch_generator("e"))
    mean = marginal_entropy(masks, VARIANCE, model.noise_std).mean()
    slopes = torch.autograd.grad(mean, list(model.sampler.parameters()))
    expected = 0.01 * torch.cat([g.flatten() for g in slopes])
    gradients(plan, model, units)(model, 0.01)
    share = flat(model.sampler) @ expected / expected.square().sum()
    assert float(share) == pytest.approx(1.0, rel=0.1)


def test_without_noise_the_sum_is_divided_by_the_expected_number() -> None:
    found = []
    for lot in (12, 24):
        plan = private_plan(noise_multiplier=1e-12, lot=lot, rate=1.0, clip=1e6)
        model = model_of(plan, 1)
        gradients(plan, model)(model, 0.0)
        found.append(flat(model) * lot)
    assert torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_a_step_that_draws_nobody_is_noise_of_the_stated_scale() -> None:
    plan = private_plan(noise_multiplier=3.0, clip=0.5, lot=4)
    model = model_of(plan, 1)
    gradients(plan, model, units=0)(model, 0.0)
    noise = flat(model)
    assert float(noise.std()) == pytest.approx(3.0 * 0.5 / 4, rel=0.02)
    assert abs(float(noise.mean())) < 5 * 3.0 * 0.5 / 4 / len(noise) ** 0.5


def test_much_noise_drowns_every_unit_in_policy_and_network_alike() -> None:
    plan = private_plan(noise_multiplier=1e4, lot=4)
    model = model_of(plan)
    gradients(plan, model)(model, 0.0)
    for part in (model.sampler, model.network):
        assert float(flat(part).std()) == pytest.approx(1e4 / 4, rel=0.03)


def test_every_gradient_lies_on_the_lattice_and_its_noise_is_gaussian() -> None:
    plan = private_plan(noise_multiplier=2.0, clip=0.5, lot=4)
    model = model_of(plan, 1)
    step = gradients(plan, model, units=0)
    total = {p: torch.zeros_like(p, dtype=torch.float64) for p in model.network.parameters()}
    step._noise(total)
    noise = torch.cat([found.flatten() for found in total.values()])
    lattice = Lattice(0.5, 2.0, len(noise), MARGIN)
    assert (noise / lattice.step % 1 == 0).all() and lattice.step == 2.0**-31
    found = stats.kstest(noise.numpy() / lattice.noise_std, "norm")
    assert found.pvalue > 1e-4


def test_the_secret_stream_alone_decides_noise_masks_and_who_takes_part() -> None:
    plan = private_plan(lot=4)

    def step(torch_seed: int, stream: str) -> torch.Tensor:
        torch.manual_seed(torch_seed)
        model = model_of(plan)
        gradients(plan, model, seed=stream)(model, 1e-4)
        return flat(model)

    assert torch.equal(step(1, "a"), step(2, "a"))
    assert float((step(1, "a") == step(1, "b")).float().mean()) < 0.01


def test_everyone_is_drawn_at_the_sampling_rate_and_by_himself() -> None:
    plan = private_plan(lot=4)
    step = gradients(plan, model_of(plan, 1), units=20)
    drawn = np.zeros((2000, 20))
    for i in range(len(drawn)):
        drawn[i, step.draw()] = 1
    assert np.abs(drawn.mean(0) - 0.2).max() < 5 * (0.16 / len(drawn)) ** 0.5
    assert drawn.sum(1).var() == pytest.approx(20 * 0.16, rel=0.2)


def test_a_patient_gives_one_slice_a_step_and_each_of_them_at_times() -> None:
    plan = private_plan(rate=1.0)
    patients = np.array(["b", "a", "b", "c", "b", "a"])
    units = units_of(plan, patients)
    assert [u.tolist() for u in units] == [[1, 5], [0, 2, 4], [3]]
    slices = units_of(private_plan(unit="slice"), patients)
    assert [u.tolist() for u in slices] == [[i] for i in range(6)]
    images, labels = images_and_labels(plan, 6)
    stream = SecretStream.public("slices")
    step = PrivateGradients(
        plan,
        penalty(plan),
        units,
        lambda r: (images[r], labels[r]),
        stream,
    )
    draws = [step.draw() for _ in range(100)]
    assert all(sorted(set(patients[d])) == ["a", "b", "c"] and len(d) == 3 for d in draws)
    assert set(np.concatenate(draws)) == set(range(6))


def test_a_private_round_trains_reports_epsilon_and_keeps_losses_in(tmp_path: Path) -> None:
    plan = private_plan(lot=4)
    arms, variance = start(plan)
    task = TrainTask(plan.text, 1, 0.0, variance, arms)
    site = a_site(tmp_path)
    first, second = site.train(plan, task, never), site.train(plan, task, never)
    assert first.losses == {} and first.epsilon is not None and 0 < first.epsilon < 100
    assert all((first.arms[name] != second.arms[name]).any() for name in arms)
    open_plan = private_plan(lot=4, losses=True)
    told = site.train(open_plan, TrainTask(open_plan.text, 1, 0.0, variance, arms), never)
    assert set(told.losses) == set(arms)
