"""Reconstructors: sizes as published, what they are before training, and what must hold of all."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.dp.per_sample import check_layers, recorded
from infomri_core.physics.kspace import fft2c, reflect, zero_fill
from infomri_core.reconstruction.admm_net import KNOTS, ADMMNet, PiecewiseLinear
from infomri_core.reconstruction.base import LOG_VARIANCE
from infomri_core.reconstruction.hqs import DRUNet
from infomri_core.reconstruction.ista_net import ISTANet, Phase
from infomri_core.reconstruction.md_recon import MDRecon
from infomri_core.reconstruction.puert import Puert
from infomri_core.reconstruction.registry import RECONSTRUCTORS, reconstructor_class
from infomri_core.reconstruction.unet import FastMRIUNet, _Up
from infomri_core.system.errors import InputError

EVERY = list(RECONSTRUCTORS)
SHAPE = (37, 50)


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def measured(n: int = 2, ratio: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, H, W), their sampled k-space and masks."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, *SHAPE, generator=generator)
    masks = (torch.rand(n, *SHAPE, generator=generator) < ratio).float()
    return images, fft2c(images) * masks, masks


def test_the_sizes_are_the_published_ones() -> None:
    assert round(n_parameters(FastMRIUNet(1, 1, 32)) / 1e6, 3) == 7.756
    assert round(n_parameters(FastMRIUNet(1, 1, 64)) / 1e6, 3) == 31.024
    assert n_parameters(ISTANet(SHAPE, 32).phases) == 336_978
    assert n_parameters(Puert(SHAPE, 32).phases) + 256**2 == 403_963
    assert round(n_parameters(DRUNet((64, 128, 256, 512), 4)) / 1e6, 1) == 32.6


@pytest.mark.parametrize("name", EVERY)
def test_every_one_gives_mean_and_variance_of_any_shape(name: str) -> None:
    torch.manual_seed(0)
    network = reconstructor_class(name)(SHAPE, 4)
    _, y, masks = measured()
    output = network(y, masks)
    assert output.shape == (2, 2, *SHAPE) and torch.isfinite(output).all()
    assert LOG_VARIANCE[0] <= output[:, 1].min() and output[:, 1].max() <= LOG_VARIANCE[1]
    bare = reconstructor_class(name)((SHAPE[0],) * 2, 4)
    assert n_parameters(bare) == n_parameters(network)


@pytest.mark.parametrize("name", EVERY)
def test_no_image_hangs_on_another_of_the_batch(name: str) -> None:
    torch.manual_seed(0)
    network = reconstructor_class(name)(SHAPE, 4).eval()
    _, y, masks = measured(3)
    assert torch.allclose(network(y, masks)[:1], network(y[:1], masks[:1]), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_sampler_and_every_parameter_learn_through_it(name: str) -> None:
    torch.manual_seed(0)
    network = reconstructor_class(name)(SHAPE, 4)
    for parameter in network.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    images, _, masks = measured()
    masks.requires_grad_()
    output = network(fft2c(images) * masks, masks)
    (output[:, 0] - images).square().mean().add(output[:, 1].mean()).backward()
    unseen = (masks + reflect(masks)) == 0
    assert masks.grad is not None and (masks.grad[unseen] != 0).float().mean() > 0.99
    assert all(p.grad is not None and (p.grad != 0).any() for p in network.parameters())


@pytest.mark.parametrize("name", ["unet", "zero-filled"])
def test_these_start_as_the_zero_filled_magnitude_with_one_variance(name: str) -> None:
    _, y, masks = measured()
    mean, log_variance = reconstructor_class(name)(SHAPE, 4)(y, masks).unbind(1)
    assert torch.allclose(mean, zero_fill(y).abs(), atol=1e-6)
    assert (log_variance.amax((-2, -1)) - log_variance.amin((-2, -1))).max() < 1e-5


def test_the_unet_keeps_the_scale_of_an_image() -> None:
    """Its normalisation takes it away from the features: a brighter image must come out so."""
    torch.manual_seed(0)
    network = reconstructor_class("unet")(SHAPE, 4)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    _, y, masks = measured()
    once, twice, thrice = (network(k * y, masks)[:, 0] for k in (1, 2, 3))
    assert torch.allclose(twice - once, thrice - twice, atol=1e-4)
    assert (twice - once - zero_fill(y).abs()).abs().max() > 1e-3


def test_the_unet_can_add_what_the_mask_left_out() -> None:
    """Points that miss the centre of k-space leave next to nothing of an image. A mean tied to
    that scale stays there, decibels below the mean image that needs no measurement."""
    network = reconstructor_class("unet")(SHAPE, 4)
    with torch.no_grad():
        network.network.last.bias[2] = 0.4
    _, y, masks = measured()
    mean = network(1e-6 * y, masks)[:, 0]
    assert torch.allclose(mean, torch.full_like(mean, 0.4), atol=1e-3)


def test_hermitian_completion_is_exact_where_each_pair_was_seen() -> None:
    images, _, _ = measured()
    height = SHAPE[0]
    masks = torch.zeros(2, *SHAPE)
    masks[:, : height // 2 + 1] = 1
    mean = reconstructor_class("hermitian")(SHAPE, 4)(fft2c(images) * masks, masks)[:, 0]
    assert masks.mean() < 0.52 and torch.allclose(mean, images, atol=1e-5)


def test_a_1x1_convolution_to_four_pixels_is_the_transposed_convolution() -> None:
    torch.manual_seed(0)
    up, x = _Up(6, 3), torch.randn(2, 6, 5, 7)
    weight = up.weights.weight.view(3, 2, 2, 6).permute(3, 0, 1, 2)
    transposed = functional.conv_transpose2d(x, weight, stride=2)
    expected = functional.leaky_relu(functional.instance_norm(transposed), 0.2)
    assert torch.allclose(up(x), expected, atol=1e-5)


def test_without_shrinkage_and_change_a_phase_is_a_step_of_gradient() -> None:
    phase = Phase(4)
    nn.init.zeros_(phase.leave.weight)
    phase.step.data.fill_(1.0)
    images, y, masks = measured()
    x, _ = phase(torch.zeros_like(images), y, masks)
    assert torch.allclose(x, zero_fill(y).real, atol=1e-6)


def test_a_function_of_knots_is_linear_between_and_beyond_them() -> None:
    shrink = PiecewiseLinear(2, threshold=0.1)
    x = (
        torch.tensor([-3.0, -1.0, -0.313, 0.0, 0.05, 0.5, 2.0])
        .view(1, 1, 1, -1)
        .expand(1, 2, 1, -1)
    )
    expected = x.sign() * (x.abs() - 0.1).clamp_min(0)
    assert torch.allclose(shrink(x), expected, atol=1e-5)
    torch.nn.init.normal_(shrink.values)
    steps = torch.linspace(-1, 1, KNOTS).view(1, 1, 1, -1).expand(1, 2, 1, -1)
    assert torch.allclose(shrink(steps)[0, :, 0], shrink.values, atol=1e-4)


def test_with_all_measured_and_trusted_the_image_is_the_data_s() -> None:
    images, _, _ = measured()
    whole = torch.ones_like(images)
    admm = ADMMNet(SHAPE, 4)
    admm.log_rho.data.fill_(-20.0)
    assert torch.allclose(admm(fft2c(images), whole)[:, 0], images, atol=1e-4)
    recon = MDRecon(SHAPE, 4)
    for stage in recon.stages:
        stage.trust.data.fill_(20.0)
    assert torch.allclose(recon(fft2c(images), whole)[:, 0], images, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in EVERY if reconstructor_class(n).private])
def test_what_is_called_private_has_known_gradients_of_each_sample(name: str) -> None:
    torch.manual_seed(0)
    network = reconstructor_class(name)(SHAPE, 4)
    check_layers(network)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    images, y, masks = measured(3)

    def loss(k: slice) -> Tensor:
        output = network(y[k], masks[k])
        return ((output[:, 0] - images[k]).square() + output[:, 1]).mean((-2, -1)).sum()

    with recorded(network) as layers:
        loss(slice(None)).backward()
    norms = torch.stack([layer.squared_norms() for layer in layers]).sum(0)
    for k in range(3):
        alone = torch.autograd.grad(loss(slice(k, k + 1)), list(network.parameters()))
        expected = sum(float(g.double().square().sum()) for g in alone)
        assert float(norms[k]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", [n for n in EVERY if not reconstructor_class(n).private])
def test_what_is_not_is_refused_by_dp_sgd(name: str) -> None:
    with pytest.raises(InputError):
        check_layers(reconstructor_class(name)(SHAPE, 4))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ista-net'"):
        reconstructor_class("ista_net")


def test_a_faint_image_is_not_thought_certain_before_training() -> None:
    """Points at random leave little of an image: its zero-filled one is dark, its error large, and
    a variance tied to the dark one's scale would need hundreds of nats to be unlearned."""
    torch.manual_seed(0)
    images, y, masks = measured(ratio=0.04)
    masks[:, SHAPE[0] // 2, SHAPE[1] // 2] = 0
    mean, log_variance = reconstructor_class("unet")(SHAPE, 4)(y * masks, masks).unbind(1)
    nats = 0.5 * ((images - mean) ** 2 * (-log_variance).exp() + log_variance).mean()
    assert float(nats.detach()) < 60
