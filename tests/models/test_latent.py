"""Laws of the latent model: its published sizes, its divergence, and a bound that is one."""

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from infomri_core.dp.per_sample import check_layers
from infomri_core.models.latent import LATENTS, LatentModel, latent_shape
from infomri_core.models.latent_blocks import Gaussian, decoder, encoder, padded
from infomri_core.models.latent_blocks import kl_divergence as own


@pytest.mark.parametrize(
    ("make", "n_in", "n_out", "millions"),
    [
        (encoder, 2, 32, 34.273),
        (encoder, 3, 32, 34.274),
        (encoder, 2, 4, 34.144),
        (decoder, 16, 1, 49.543),
        (decoder, 4, 1, 49.488),
    ],
)
def test_networks_have_as_many_parameters_as_the_published_ones(
    make: object, n_in: int, n_out: int, millions: float
) -> None:
    with torch.device("meta"):
        network = make(n_in, n_out, 128)  # type: ignore[operator]
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize(("shape", "classes"), [((32, 32), 1), ((20, 27), 3)])
def test_segmentations_have_the_images_size(shape: tuple[int, int], classes: int) -> None:
    model = LatentModel(classes, 8, images=True)
    images = torch.randn(2, 2, *shape)
    prior = model.given(images)
    assert prior.mean.shape[1:] == latent_shape(shape) and latent_shape(shape)[0] == LATENTS
    assert padded(images).shape[-1] % 8 == 0
    drawn = prior.sample(torch.randn(2, 5, *latent_shape(shape)))
    channels = 1 if classes == 1 else classes + 1
    assert model.segmented(drawn, shape).shape == (2, 5, channels, *shape)
    posterior = model.knowing(images, torch.zeros(2, classes, *shape))
    assert own(posterior, prior).shape == (2,)
    assert all(part.shape == (2, *shape) for part in model.rebuilt(prior.mean, shape))
    check_layers(model)


def test_no_sample_of_a_batch_depends_on_another() -> None:
    model = LatentModel(1, 8, images=False).eval()
    images = torch.randn(3, 2, 16, 16)
    alone = model.given(images[1:2]).mean
    torch.testing.assert_close(model.given(images).mean[1:2], alone, rtol=1e-4, atol=1e-5)


def test_the_divergence_is_that_of_torch() -> None:
    first, second = (Gaussian(torch.randn(3, 4, 2, 2, dtype=torch.float64)) for _ in range(2))
    expected = kl_divergence(
        *(Independent(Normal(g.mean, (0.5 * g.log_variance).exp()), 3) for g in (first, second))
    )
    torch.testing.assert_close(own(first, second), expected)
    assert own(first, first).abs().max() < 1e-12 and (own(first, second) > 0).all()


def test_the_bound_lies_below_the_likelihood() -> None:
    """On one latent and two pixels, where the likelihood is an integral over one number."""
    torch.manual_seed(3)
    decode = (
        nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2)).double().requires_grad_(False)
    )
    truth = torch.tensor([1.0, 0.0], dtype=torch.float64)
    grid = torch.linspace(-12, 12, 40_001, dtype=torch.float64)[:, None]
    step = grid[1, 0] - grid[0, 0]

    def likelihood(z: torch.Tensor) -> torch.Tensor:
        logits = decode(z)
        return nn.functional.logsigmoid(logits * (2 * truth - 1)).sum(-1)

    def as_gaussian(mean: float, log_variance: float) -> Gaussian:
        return Gaussian(torch.tensor([[[[mean]], [[log_variance]]]], dtype=torch.float64))

    prior, gaps = as_gaussian(0.3, 0.2), []
    density = Normal(0.3, torch.tensor(0.1, dtype=torch.float64).exp()).log_prob(grid[:, 0])
    exact = (likelihood(grid) + density).exp().sum().mul(step).log()
    for mean, log_variance in ((0.3, 0.2), (1.0, -0.5), (-2.0, 0.0)):
        posterior = as_gaussian(mean, log_variance)
        weight = Normal(mean, torch.tensor(log_variance / 2).double().exp()).log_prob(grid[:, 0])
        expected = (weight.exp() * likelihood(grid)).sum() * step
        gaps.append(float(exact - (expected - own(posterior, prior)[0])))
    assert min(gaps) >= 0 and max(gaps) > 0.1
