"""InfoMRI's segmentation tables on data at hand: samples of latents beside their cheap rivals,
what more samples bring, and the published sizes."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import torch

from infomri_core.benchmark.benchmark import Benchmark, Budget, Figures, Request, Row
from infomri_core.benchmark.latent_study import SAMPLES, Setting, perfect, scored, trained
from infomri_core.benchmark.stages import (
    PROTOCOLS,
    Protocol,
    scored_in_stages,
    trained_in_stages,
)
from infomri_core.data import open_dataset
from infomri_core.models.latent import LatentModel

ACCELERATIONS = (4.0, 8.0, 16.0, 32.0)
_SCHEDULES: Mapping[Budget, tuple[int, int]] = {"small": (800, 8), "full": (10_000, 32)}
"""Steps of 16 slices, and the width."""
_SIZES, _PERFECT = "sizes", "the phantom's own posterior"
_MODELS = {"latent": True, "without latents": False}
_WAYS = {
    ("latent", "samples"): "latents, 32 samples",
    ("latent", "thresholds"): "latents, thresholds of the mean probability",
    ("latent", "one mask"): "latents, z = mean",
    ("without latents", "samples"): "no latents, thresholds",
    ("without latents", "one mask"): "no latents, one mask",
    **{(name, "one mask"): f"{name}, one mask" for name in PROTOCOLS},
    **{(name, "thresholds"): f"{name}, thresholds" for name in PROTOCOLS},
}


class InfoMRISegmentation(Benchmark):
    """One model a row, trained once for all accelerations, without an audit; baselines of several
    stages get the whole schedule in each."""

    name = "infomri-segmentation"
    reproduces = (
        "InfoMRI, Tables 3, 7, 10 in kind (learned sampler and latents against cheap rivals, on "
        "other data: QUBIQ is not at hand), Table 12 (what more samples bring), Tables 13-14 "
        "(sizes)."
    )
    data = (
        "several raters: phantom:?ambiguous=1&size=32&patients=300&slices=1, qubiq:DIR, "
        "slices:FILE?raters=6"
    )
    cost: ClassVar[Mapping[Budget, str]] = {
        "small": "11 CPU minutes a seed at 32 x 32",
        "full": "a GPU, about an hour a seed",
    }
    published: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "published: InfoMRI, QUBIQ, V": (".0943", ".0987", ".1009", ".1142"),
        "published: Tackle, QUBIQ, V": (".1073", ".1009", ".1243", ".2216"),
        "published: SemuNet, QUBIQ, V": (".1121", ".1166", ".1296", ".2549"),
    }
    published_samples: ClassVar[Mapping[int, float]] = {
        1: 0.1369,
        2: 0.1146,
        4: 0.0936,
        8: 0.0869,
        16: 0.0872,
    }

    def rows(self, request: Request) -> Sequence[Row]:
        steps, width = _SCHEDULES[request.budget]
        dataset = cache(lambda: open_dataset(request.data))

        def setting(latent: bool, seed: int) -> Setting:
            given = (dataset(), request.data, ACCELERATIONS, steps, width)
            return Setting(*given, latent, seed, request.device)

        rows = [Row(f"{_SIZES} | 0", "counted at width 128", _sizes)]
        if "ambiguous" in request.data:
            rows.append(Row(f"{_PERFECT} | 0", "drawn", lambda: perfect(setting(True, 0))))
        words = f"{steps} steps of 16 slices, width {width}, central, one model for all"
        for name, latent in _MODELS.items():
            for seed in request.seeds:
                rows.append(Row(f"{name} | {seed}", words, _run(setting, latent, seed)))
        for seed in request.seeds:
            for name, protocol in PROTOCOLS.items():
                n = len(protocol.stages)
                words = f"{n} x {steps} steps of 16 slices, width {width}, one model for all"
                rows.append(Row(f"{name} | {seed}", words, _run_stages(setting, protocol, seed)))
        return rows

    def table(self, found: Mapping[str, Figures]) -> str:
        parts = [_over_acceleration(found), _over_samples(found), _of_sizes(found)]
        return "\n\n".join(part for part in parts if part)


def _run(
    setting: Callable[[bool, int], Setting], latent: bool, seed: int
) -> Callable[[], Figures]:
    def run() -> Figures:
        chosen = setting(latent, seed)
        return scored(chosen, trained(chosen))

    return run


def _run_stages(
    setting: Callable[[bool, int], Setting], protocol: Protocol, seed: int
) -> Callable[[], Figures]:
    def run() -> Figures:
        chosen = setting(False, seed)
        return scored_in_stages(chosen, trained_in_stages(protocol, chosen))

    return run


def _sizes() -> Figures:
    """Parameters in millions at the published width; our image decoder has one output more, for
    the variance, which is left out here."""
    with torch.device("meta"):
        model = LatentModel(1, 128, images=True)
    n = {k: sum(p.numel() for p in part.parameters()) / 1e6 for k, part in model.named_children()}
    deployed, extra = n["prior"] + n["decoder"], (9 * 128 + 1) / 1e6
    return {"encoder": n["prior"], "training": sum(n.values()) - extra, "deployed": deployed}


def _over_acceleration(found: Mapping[str, Figures]) -> str:
    lines = [["GED U (V), Dice of pairs, ECE", *(f"{a:g}x" for a in ACCELERATIONS)]]
    for (model, way), words in _WAYS.items():
        runs = _of(found, model)
        if runs:
            cells = (_cell(runs, f"{way} | {a:g}x") for a in ACCELERATIONS)
            lines.append([words, *cells])
    if len(lines) == 1:
        return ""
    lines += [[name, *values] for name, values in InfoMRISegmentation.published.items()]
    return _markdown(lines) + (
        "\n\nMeans over seeds; the published V is biased by D (1/n + 1/R), and of other data and "
        "raters: only the order of rows can be compared."
    )


def _over_samples(found: Mapping[str, Figures]) -> str:
    lines = [["samples, 32x", *(str(n) for n in SAMPLES)]]
    for words, key, first in (("latents", "latent", "U"), (_PERFECT, _PERFECT, "U")):
        runs = _of(found, key)
        for measure in ("V", first) if runs else ():
            cells = [
                "-"
                if measure == "U" and n == 1
                else f"{_mean(runs, f'{n} samples | {measure}'):.3f}"
                for n in SAMPLES
            ]
            lines.append([f"{words}, {measure}", *cells])
        if runs and "D" in runs[0]:
            d, r = runs[0]["D"], runs[0]["R"]
            lines.append(["D (1/n + 1/R)", *(f"{d * (1 / n + 1 / r):.3f}" for n in SAMPLES)])
    if len(lines) == 1:
        return ""
    known = InfoMRISegmentation.published_samples
    lines.append(["published, V", *(f"{known[n]:.3f}" if n in known else "-" for n in SAMPLES)])
    return _markdown(lines)


def _of_sizes(found: Mapping[str, Figures]) -> str:
    runs = _of(found, _SIZES)
    if not runs:
        return ""
    here = [f"{runs[0][name]:.1f} M" for name in ("encoder", "training", "deployed")]
    head = ["parameters at width 128", "an encoder", "in training", "deployed"]
    return _markdown([head, ["here", *here], ["published", "34.3 M", "167 M", "83.8 M"]])


def _of(found: Mapping[str, Figures], model: str) -> list[Figures]:
    return [figures for key, figures in found.items() if key.split(" | ")[0] == model]


def _mean(runs: Sequence[Figures], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def _cell(runs: Sequence[Figures], place: str) -> str:
    u, v, dsc, ece = (_mean(runs, f"{place} | {name}") for name in ("U", "V", "DSC", "ECE"))
    return f"{u:.3f} ({v:.3f}), {dsc:.3f}, {ece:.3f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    whole = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in whole)
