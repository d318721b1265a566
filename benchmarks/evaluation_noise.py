"""What the noise of evaluation costs: half widths of the 95 % intervals of AUROC and PSNR.

``python -m benchmarks.evaluation_noise [--epsilon 2 4 8 16 32] [--studies 60]``, seed 0, three
minutes on one thread: three sites of 5, 20 and 100 scored patients, three findings of a third of
the patients each, scores of AUROC .92, three attacks and the diagnosis with PSNRs 1.5 dB apart;
one arm at two accelerations, and five arms at two, as in the demo. A dash: the noise hides who is
ill in more than half of the studies.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.score_noise.mechanism import Form, noise_multiplier, noised
from infomri_core.score_noise.noised_scores import NoisedScores
from infomri_core.tasks.classification import N_BINS, Classification

N_SITES, DELTA, CLIP_DB = 3, 1e-5, 4.0
ATTACKS = ("diagnosis", "cnn", "lmmse", "unet")
SEPARATION, SPREAD_DB, MEAN_DB = 2.0, 1.5, 24.0
SCALE, BIAS = 1.5, -1.0
EDGES_AT = SCALE * norm.ppf(np.arange(1, N_BINS) / N_BINS) * 1.35 + BIAS - SCALE / 3
"""About the sixths of the scores, as the study centre's own patients would give them."""
TRUE_AUROC = float(norm.cdf(SEPARATION / np.sqrt(2)))


@dataclass(frozen=True)
class Cost:
    """Of many studies: median half widths, the mean error and the coverage of AUROC's interval,
    and the share of studies in which there is none."""

    auroc: float
    error: float
    covered: float
    undefined: float
    psnr: float


def measured(
    n_patients: int, n_arms: int, n_labels: int, epsilon: float | None, n_studies: int, seed: int
) -> Cost:
    """Of ``n_studies`` drawn studies with ``n_patients`` a site; ``epsilon`` None is no noise."""
    draw = np.random.default_rng([seed, n_patients, n_arms])
    found, psnr = [], []
    for number in range(n_studies):
        scores = study(n_patients, n_arms, n_labels, epsilon, draw, number)
        cell, expected = scores.form.cells[0], np.full(scores.form.n_quality, MEAN_DB)
        edges = np.broadcast_to(EDGES_AT, scores.form.reference_shape)
        auroc = scores.figures(cell, edges)["auroc"]
        found.append((auroc.value, auroc.low, auroc.high))
        rebuilt = scores.psnr(cell, expected, CLIP_DB)["unet"]
        psnr.append(((rebuilt.high or 0.0) - (rebuilt.low or 0.0)) / 2)
    defined = np.array([f for f in found if f[0] is not None], float).reshape(-1, 3)
    value, low, high = defined.T if len(defined) else np.full((3, 1), np.nan)
    covered = (low <= TRUE_AUROC) & (high >= TRUE_AUROC)
    return Cost(
        float(np.median((high - low) / 2)),
        float((value - TRUE_AUROC).mean()),
        float(covered.mean()),
        1 - len(defined) / n_studies,
        float(np.median(psnr)),
    )


def study(
    n_patients: int,
    n_arms: int,
    n_labels: int,
    epsilon: float | None,
    draw: np.random.Generator,
    number: int,
) -> NoisedScores:
    """The summed scores of all sites of one study, one slice a patient."""
    cells = tuple((f"arm {i}", a) for i in range(n_arms) for a in (8.0, 16.0))
    names = tuple(f"finding {i}" for i in range(n_labels))
    form = Form(cells, Classification((1, 1), names), ATTACKS, ("mean",))
    sites = [_site(form, n_patients, epsilon, draw, f"{number} {k}") for k in range(N_SITES)]
    merged = sites[0]
    for other in sites[1:]:
        merged = merged.merge(other)
    return merged


def _site(
    form: Form, n_patients: int, epsilon: float | None, draw: np.random.Generator, name: str
) -> NoisedScores:
    ill = draw.random((n_patients, len(form.task.answer_names))) < 1 / 3
    names, rows = np.arange(n_patients), np.arange(n_patients)
    expected = np.full(form.n_quality, MEAN_DB)
    edges = np.broadcast_to(EDGES_AT, form.reference_shape)
    bounded = BoundedScores(form, names, edges, expected, CLIP_DB)
    for cell in form.cells:
        logits = SCALE * (draw.normal(size=ill.shape) + SEPARATION * (ill - 0.5)) + BIAS
        quality = {
            name: draw.normal(MEAN_DB, SPREAD_DB, (n_patients, 4))
            for name in (*form.attacks, *form.floors)
        }
        bounded.add(cell, np.hstack((logits, ill)), rows, quality)
    if epsilon is None:
        return NoisedScores.of(form, bounded.sums(), 0.0)
    multiplier = noise_multiplier(epsilon, DELTA)
    stream = SecretStream.derived("noise of a drawn study", name, epsilon)
    return NoisedScores.of(form, noised(bounded.sums(), form, multiplier, stream), multiplier)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line a plan, number of patients and epsilon, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[2.0, 4.0, 8.0, 16.0, 32.0])
    parser.add_argument("--patients", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--studies", type=int, default=60)
    options = parser.parse_args(arguments)
    print("| arms x accelerations | patients a site | epsilon | AUROC +- | covered | PSNR +- dB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n_arms in options.arms:
        for n_patients in options.patients:
            for epsilon in (None, *options.epsilon):
                found = measured(n_patients, n_arms, 3, epsilon, options.studies, 0)
                print(line(n_arms, n_patients, epsilon, found), flush=True)


def line(n_arms: int, n_patients: int, epsilon: float | None, found: Cost) -> str:
    """One line of the table."""
    hidden = found.undefined > 0.5
    auroc = "-" if hidden else f"{found.auroc:.3f}"
    covered = "-" if hidden else f"{found.covered:.0%}"
    noise = "no noise" if epsilon is None else f"{epsilon:g}"
    cells = f"{n_arms} x 2 | {n_patients} | {noise}"
    return f"| {cells} | {auroc} | {covered} | {found.psnr:.2f} |"


if __name__ == "__main__":
    main()
