"""What stands beside the latent model: thresholds as samples, guards that say so, its size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import LossTerms
from infomri_core.fitting.loop import Stretch
from infomri_core.models.latent import LatentModel
from infomri_core.models.settings import Model
from infomri_core.physics.kspace import fft2c
from infomri_core.summaries.groups import SLOTS
from infomri_core.suppression.registry import build_suppression
from infomri_core.tasks.outlining.scores import threshold_logits, two_channels
from infomri_core.training.fit import train_steps
from tests.tasks.test_segmentation import TASK, discs, plan_of


def test_without_latents_samples_are_thresholds_whose_mean_is_the_probability() -> None:
    task = replace(TASK, latent=False, samples=16)
    torch.manual_seed(0)
    network = task.network(Model(width=8))
    assert len(list(network.parameters())) < len(list(TASK.network(Model(width=8)).parameters()))
    data = discs()
    images, targets = data.images(np.arange(3)), task.targets(data, np.arange(3))
    y = fft2c(images)
    output = task.output(network, y, images)
    inside = (output[:, :, 0] > 0).float()
    assert (inside.diff(dim=1) <= 0).all()
    mean = torch.sigmoid(network.segmented(network.given(two_channels(y)).mean[:, None], (32, 32)))
    assert (inside.mean(1) - mean[:, 0, 0]).abs().max() <= 0.5 / 16 + 1e-5
    found = task.training_output(
        network, y, images, images, targets, torch.randn(3, task.n_drawn(network))
    )
    assert not found.kl.any() and task.losses(found, targets)["nll"].min() > 0


def test_thresholds_of_the_true_probability_are_perfect_samples_of_nested_outlines() -> None:
    """Of discs all outlines are nested: there latents have nothing to add."""
    data = discs(60, raters=3)
    rows = np.arange(len(data))
    p = torch.from_numpy(data.probability(rows)).float().clamp(1e-4, 1 - 1e-4)
    logits = threshold_logits(torch.logit(p)[:, None, None], 16)
    evidence = TASK.evidence(logits, TASK.targets(data, rows)).double().numpy()
    figures = TASK.estimates(TASK.summarise(evidence, rows % SLOTS))
    # Evenly spaced levels differ a little more than drawn ones: by 1 / 16 of the raters' spread.
    assert abs(figures["agreement"].value - 1) < 0.05
    assert figures["ged_levels"].value == pytest.approx(1 - figures["agreement"].value, abs=0.01)


def test_collapse_and_mismatch_are_said_in_words() -> None:
    torch.manual_seed(0)
    network = TASK.network(Model(width=8))
    data = discs(8)
    rows = np.arange(len(data))
    y, targets = fft2c(data.images(rows)), TASK.targets(data, rows)

    def concerns() -> str:
        return " ".join(TASK.inspect(network, y, y.abs(), targets).concerns)

    with torch.no_grad():
        for encoder in (network.prior, network.posterior):
            for p in encoder[-1].parameters():
                p.zero_()
    assert "posterior collapse: 0.0 %" in concerns().replace("%", " %")
    with torch.no_grad():
        network.posterior[-1].bias[:16] += 3.0
    assert "collapse" not in concerns()
    curve = TASK.inspect(network, y, y.abs(), targets).curves[0]
    assert sum(share for _, _, share in curve.points) == pytest.approx(1, abs=1e-4)


def test_a_divergence_that_is_no_number_is_called_by_its_name() -> None:
    losses = {"nll": torch.tensor(1.0), "kl": torch.tensor(float("nan")), "image": torch.zeros(())}
    terms = LossTerms(TASK, losses, torch.tensor(0.0))
    assert terms.unsound() == ("kl",)


def test_the_latent_model_has_as_many_parameters_as_the_published_one() -> None:
    """167.6 M in training and 83.8 M deployed; our image decoder has one output more."""
    with torch.device("meta"):
        model = LatentModel(1, 128, images=True)
    n = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    one_output = 9 * 128 + 1
    assert round((sum(n.values()) - one_output) / 1e6, 1) == 167.6
    assert round((n["prior"] + n["decoder"]) / 1e6, 1) == 83.8


def test_below_zero_training_continues_after_rounds_in_which_beta_was_zero() -> None:
    """The image's decoder has no gradient, and Adam no moments of it, until beta rises."""
    plan = plan_of(
        arms=[{"sampler": "uniform", "beta": -1.0}],
        training={"rounds": 2, "local_steps": 2, "batch_size": 4, "beta_warmup": 0.5},
    )
    data = discs()
    model = build_model(plan, plan.arms[0])
    nothing = build_suppression("none", torch.ones(2, 32, 32), None, 0.02)
    decoder = next(model.network.image_decoder.parameters())

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return data.images(rows), plan.task.targets(data, rows)

    def trained(first: int, state: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        given = (model, plan, -1.0, nothing, len(data), fetch, Stretch(first, 2, 4, (0, "a")))
        return train_steps(*given, state)[1]

    before = decoder.clone()
    state = trained(0, None)
    assert torch.equal(decoder, before)
    assert len(state["mean"]) == sum(p.numel() for p in model.parameters())
    trained(2, state)
    assert not torch.equal(decoder, before)
