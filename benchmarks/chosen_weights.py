"""What a hostile study centre gets of single patients by chosen weights, before and after noise.

``python -m benchmarks.chosen_weights [--epsilon 4 8 16 32]``, seed 0, a minute on one thread. The
adversary chooses every slice's score and figure outright, from the slice's image, in every arm,
acceleration, label and input that a site allows: no weights can do more. 60 phantoms at 32x32.

- *cohort*: each score holds which of eight places a slice's image hashes to, and one pixel in
  eight steps: a place where a group of patients has one only is that patient's image. Every pixel
  is asked under four hashes; with noise, in the one input that it allows.
- *one target*: the weights fire on one patient only, and all that the noise allows is spent on
  him: the scores of every cell tell one of his principal components, by sign.
- *ideal channel*: the same, could all figures together hold any real numbers up to the bound.
- *member*: is the target among the scored? Share of right answers at even odds, by theory.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from infomri_core.data import open_dataset
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.score_noise.mechanism import Form, noise_multiplier, noised
from infomri_core.summaries.groups import partition
from infomri_core.summaries.metrics import LOGIT_LIMIT, N_BINS, ScoreHistogram
from infomri_core.tasks.classification import EDGES, Classification
from infomri_core.tasks.task import UNIT

TARGETS = "phantom:?hospital=site&patients=60&slices=1&size=32&seed=5&prevalence=0.4"
KNOWN = "phantom:?hospital=centre&patients=200&slices=1&size=32&seed=6&prevalence=0.4"
PLACES, STEPS, HASHES = 8, 8, 4
DELTA = 1e-5
DIMENSIONS = (1, 2, 4, 8, 16)
TASK = Classification((1, 1), ("finding",))
"""Any task with one label: what is attacked is the form of its scores."""


@dataclass(frozen=True)
class Recovery:
    """Of how many patients an image was had at all, and over these its correlation with the truth
    about the mean image of patients the adversary holds, and its PSNR in dB."""

    share: float
    correlation: float
    psnr: float


def images(uri: str) -> np.ndarray:
    """One slice of each patient, (n, pixels) in [0, 1]."""
    dataset = open_dataset(uri)
    return dataset.images(np.arange(len(dataset))).double().numpy().reshape(len(dataset), -1)


def cohort_attack(
    targets: np.ndarray, known: np.ndarray, epsilon: float | None, seed: int
) -> Recovery:
    """*cohort*; ``epsilon`` None: exact histograms over groups of patients, as without noise."""
    places, levels = _places(targets, seed), np.rint(targets * (STEPS - 1)).astype(int)
    best = np.full(targets.shape, np.nan)
    groups = partition(np.arange(len(targets)), f"site {seed}")
    if epsilon is not None:
        groups = np.zeros(len(targets), int)
    for place in places.T:
        counts = _asked(place[:, None] * STEPS + levels, groups, epsilon, seed)
        for i, (group, slot) in enumerate(zip(groups, place)):
            seen = counts[group, :, slot * STEPS : (slot + 1) * STEPS]
            alone = np.abs(seen.sum(1) - 1).mean() < 0.5
            if alone or epsilon is not None:
                best[i] = seen.argmax(1) / (STEPS - 1)
    return _recovery(best, targets, known)


def target_attack(
    targets: np.ndarray, known: np.ndarray, epsilon: float, n_components: int, seed: int
) -> Recovery:
    """*one target*, for each patient in turn: one cell a component, and as many again as fit."""
    axes, scale, centre = components(known, n_components)
    signs = np.sign((targets - centre) @ axes)
    cells = tuple(("arm", float(c)) for c in range(2 * n_components))
    form, multiplier = Form(cells, TASK), noise_multiplier(epsilon, DELTA)
    told = np.empty_like(signs)
    high, low = 2 * EDGES[-1], 2 * EDGES[0]
    for i in range(len(targets)):
        reference = np.broadcast_to(TASK.reference(None), form.reference_shape)
        sums = BoundedScores(form, np.arange(len(targets)), reference, np.zeros(0), 1.0)
        for c, cell in enumerate(cells):
            evidence = np.zeros((len(targets), TASK.n_evidence))
            evidence[i, 0] = high if signs[i, c % n_components] > 0 else low
            sums.add(cell, evidence, np.zeros(0, np.int64), {})
        stream = SecretStream.derived(f"noise of one study {seed}", i, n_components)
        seen = noised(sums.sums(), form, multiplier, stream)["scores"][:, 0, 0] / UNIT
        told[i] = (seen[:, -1] - seen[:, 0]).reshape(2, n_components).mean(0)
    return _recovery(_guessed(told, signs, axes, scale, centre), targets, known)


def ideal_attack(
    targets: np.ndarray, known: np.ndarray, epsilon: float, n_components: int, seed: int
) -> Recovery:
    """*ideal channel*: the components as real numbers, scaled to the bound, under the noise."""
    axes, scale, centre = components(known, n_components)
    values = (targets - centre) @ axes
    bound = np.linalg.norm((known - centre) @ axes, axis=1).max()
    held = values / np.maximum(bound, np.linalg.norm(values, axis=1, keepdims=True))
    noise = np.random.default_rng(seed).normal(size=held.shape) * noise_multiplier(epsilon, DELTA)
    return _recovery(_guessed(held + noise, held, axes, scale, centre), targets, known)


def membership(epsilon: float) -> float:
    """Share of right answers at even odds to whether one patient is among the scored, of who
    spends all of the noise's allowance on it: the Gaussian mechanism's own trade-off."""
    return 0.5 * (1 + erf(1 / (2 * noise_multiplier(epsilon, DELTA)) / sqrt(2)))


def components(known: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first ``n`` principal axes (pixels, n) of images the adversary holds, the standard
    deviation along each, and their mean."""
    centre = known.mean(0)
    _, values, rows = np.linalg.svd(known - centre, full_matrices=False)
    return rows[:n].T, values[:n] / np.sqrt(len(known)), centre


def _places(targets: np.ndarray, seed: int) -> np.ndarray:
    """Where each image falls under each hash (n, HASHES): signs of three random projections."""
    axes = np.random.default_rng(seed).normal(size=(targets.shape[1], HASHES, 3))
    values = np.einsum("np,phk->nhk", targets, axes)
    bits = values > np.median(values, axis=0)
    return bits @ np.array([1, 2, 4])


def _asked(bins: np.ndarray, groups: np.ndarray, epsilon: float | None, seed: int) -> np.ndarray:
    """What comes back (groups, pixels, 64) of scores that fall into ``bins`` (n, pixels)."""
    logits = ((bins + 0.5) / N_BINS * 2 - 1) * LOGIT_LIMIT
    labels = np.zeros(bins.shape, np.uint8)
    counts = ScoreHistogram.from_scores(logits, labels, groups).counts[:, :, 0].astype(float)
    if epsilon is None:
        return counts
    form = Form(tuple(("arm", float(c)) for c in range(HASHES * bins.shape[1])), TASK)
    multiplier = noise_multiplier(epsilon, DELTA)
    # The noise of 64 bins a cell, as if the product kept so many: a gift to the adversary.
    std = multiplier * sqrt(len(form.cells) / form.shares()["scores"])
    return counts + np.random.default_rng(seed).normal(size=counts.shape) * std


def _guessed(
    told: np.ndarray,
    meant: np.ndarray,
    axes: np.ndarray,
    scale: np.ndarray,
    centre: np.ndarray,
) -> np.ndarray:
    """Images (n, pixels) by the least-squares estimate of each component from what was told, whose
    factor the adversary is given."""
    factor = (told * meant).mean(0) / (told**2).mean(0) * scale / np.sqrt((meant**2).mean(0))
    guessed: np.ndarray = centre + (told * factor) @ axes.T
    return guessed


def _recovery(guessed: np.ndarray, targets: np.ndarray, known: np.ndarray) -> Recovery:
    had = np.isfinite(guessed).all(1)
    if not had.any():
        return Recovery(0.0, 0.0, 0.0)
    a, b = guessed[had] - known.mean(0), targets[had] - known.mean(0)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    correlation = (a * b).sum(1) / np.maximum(norms, 1e-12)
    error = ((guessed[had].clip(0, 1) - targets[had]) ** 2).mean(1)
    return Recovery(
        float(had.mean()), float(correlation.mean()), float(-10 * np.log10(error).mean())
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line an attack and epsilon, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[2.0, 4.0, 8.0, 16.0, 32.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    targets, known = images(TARGETS), images(KNOWN)
    print("| noise | attack | images had of | correlation | PSNR dB | member |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(line("none", "cohort", cohort_attack(targets, known, None, options.seed)))
    floor = Recovery(
        1.0, 0.0, _recovery(np.tile(known.mean(0), (len(targets), 1)), targets, known).psnr
    )
    print(line("-", "mean image, nothing asked", floor))
    for epsilon in options.epsilon:
        noise, common = f"epsilon {epsilon:g}", (targets, known, epsilon)
        print(line(noise, "cohort", cohort_attack(*common, options.seed)))
        for name, attack in (("one target", target_attack), ("ideal channel", ideal_attack)):
            tries = {n: attack(*common, n, options.seed) for n in DIMENSIONS}
            n, best = max(tries.items(), key=lambda item: item[1].correlation)
            print(
                line(noise, f"{name}, {n} component{'s' * (n > 1)}", best, membership(epsilon)),
                flush=True,
            )


def line(noise: str, attack: str, found: Recovery, member: float | None = None) -> str:
    """One line of the table."""
    said = "" if member is None else f"{member:.0%}"
    figures = f"{found.share:.0%} | {found.correlation:.3f} | {found.psnr:.1f}"
    return f"| {noise} | {attack} | {figures} | {said} |"


if __name__ == "__main__":
    main()
