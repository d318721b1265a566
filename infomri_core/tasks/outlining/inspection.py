"""What a latent model does on patients whose outlines are at hand: its guards, and its rivals."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from infomri_core.models.latent import LatentModel, latent_shape
from infomri_core.models.latent_blocks import Gaussian, kl_elements, standard_normal
from infomri_core.summaries.overlap import agreement, column
from infomri_core.tasks.outlining.scores import (
    Floats,
    drawn_rater,
    evidence,
    indicators,
    parts,
    threshold_logits,
    two_channels,
)
from infomri_core.tasks.values import Curve, Inspection

ACTIVE, COLLAPSED, MISMATCH = 0.01, 0.01, 2.0
"""Nats from which a latent is active; share of active ones below which the posterior has
collapsed; how many times the GED of samples from the measurement may be that of samples that know
the outline."""
_LEAST, _SHARP, _BATCH = 0.05, 0.1, 8
"""GED and raters' spread too small to judge by, and share of that spread that is next to none;
and how many slices are decoded at once."""


@torch.no_grad()
def inspect(
    latent: LatentModel, measurement: Tensor, targets: Tensor, n_samples: int, drawn: bool
) -> Inspection:
    """Of slices (B, H, W) and their raters' label maps (B, R, H, W). ``drawn``: whether the model
    draws latents; else its samples are thresholds, and the guards have nothing to say."""
    shape: tuple[int, int] = (targets.shape[-2], targets.shape[-1])
    prior = latent.given(two_channels(measurement))

    def logits(of: Gaussian, n: int) -> Iterator[Tensor]:
        noise = standard_normal((len(targets), n, *latent_shape(shape)), 0, targets.device)
        return (latent.segmented(z, shape) for z in of.sample(noise).split(_BATCH))

    def scored(found: Iterable[Tensor]) -> tuple[Floats, Floats]:
        pairs = zip(found, targets.split(_BATCH))
        rows = [evidence(each, seen, latent.n_classes) for each, seen in pairs]
        known, columns, bins = parts(torch.cat(rows).cpu().double().numpy())
        return columns[known].mean(0), bins[known].mean(0)

    mean = [latent.segmented(z[:, None], shape) for z in prior.mean.split(_BATCH)]
    one, _ = scored(mean)
    samples = logits(prior, n_samples) if drawn else (threshold_logits(m, n_samples) for m in mean)
    own, bins = scored(samples)
    figures = {
        "GED": 1 - float(agreement(own)),
        "GED of the latents' mean": 1 - float(agreement(one)),
        "GED of thresholds": float(column(own, "levels")),
        "spread of samples": float(column(own, "b")),
        "spread of raters": float(column(own, "c")),
    }
    concerns: list[str] = []
    if drawn and latent.posterior is not None:
        labels = drawn_rater(targets, torch.zeros(len(targets), device=targets.device))
        seen = two_channels(measurement)
        posterior = latent.knowing(seen, indicators(labels, latent.n_classes))
        active = (kl_elements(posterior, prior).mean(0) > ACTIVE).float().mean()
        knowing, _ = scored(logits(posterior, n_samples))
        figures["share of active latents"] = float(active)
        figures["GED of samples that know an outline"] = 1 - float(agreement(knowing))
        concerns = _concerns(figures)
    return Inspection(figures, (_reliability(bins[0]),), tuple(concerns))


def _concerns(figures: dict[str, float]) -> list[str]:
    """In words what makes samples worthless, so that no mean hides it."""
    found = []
    active, ged = figures["share of active latents"], figures["GED"]
    if active < COLLAPSED:
        found.append(
            f"posterior collapse: {active:.1%} of the latents are active, so samples do not hang "
            "on what raters drew; lower kl_weight or train longer"
        )
    knowing = figures["GED of samples that know an outline"]
    if active >= COLLAPSED and ged > max(MISMATCH * knowing, _LEAST):
        found.append(
            f"prior mismatch: GED {ged:.3f} of samples from the measurement, {knowing:.3f} of "
            "samples that know an outline; raise kl_weight or train longer"
        )
    own, raters = figures["spread of samples"], figures["spread of raters"]
    if raters > _LEAST and own < _SHARP * raters:
        found.append(
            f"samples hardly differ: 1 - IoU {own:.3f} of two samples, {raters:.3f} of two raters"
        )
    return found


def _reliability(bins: Floats) -> Curve:
    """Sums (N_BINS, 3) as outlined share over probability."""
    points = [
        (float(p / share), float(outlined / share), float(share))
        for p, outlined, share in bins
        if share > 0
    ]
    return Curve("Reliability", "probability", "share that raters outlined", tuple(points))
