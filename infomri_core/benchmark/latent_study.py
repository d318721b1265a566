"""One model of the segmentation benchmark: trained centrally by the one training loop, scored."""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import tomli_w
import torch
from torch import Tensor

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.benchmark.benchmark import Figures
from infomri_core.data.base import SliceDataset, Subset
from infomri_core.data.phantom.ambiguous import AmbiguousPhantom
from infomri_core.fitting.loop import Stretch
from infomri_core.models.latent import LatentModel, latent_shape
from infomri_core.models.latent_blocks import standard_normal
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.summaries.groups import SLOTS
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.errors import InputError
from infomri_core.tasks.outlining.scores import parts, threshold_logits, two_channels
from infomri_core.tasks.segmentation import Segmentation
from infomri_core.training.fit import train_steps

SAMPLES = (1, 2, 4, 8, 16, 32)
MOST = max(SAMPLES)
_BATCH = 8
_MEASURES = {
    "U": "agreement",
    "V": "ged_v",
    "DSC": "dsc_pairs",
    "ECE": "ece",
    "BS": "brier",
    "spread": "sample_spread",
}


@final
@dataclass(frozen=True)
class Setting:
    """Data, accelerations and schedule of one training; ``latent``: with Algorithm 2's latents."""

    dataset: SliceDataset
    uri: str
    accelerations: tuple[float, ...]
    steps: int
    width: int
    latent: bool
    seed: int
    device: str

    @property
    def plan(self) -> Plan:
        """What a study of this training would be."""
        where = np.flatnonzero(self.dataset.table.split == "train")
        if not self.dataset.mask_names or not len(where):
            remedy = "name an archive with outlines, or phantom:?ambiguous=1"
            raise InputError(self.uri, "outlines, and patients to train on", "none", remedy)
        most, least = min(self.accelerations), max(self.accelerations)
        table = {
            "study": {"name": "benchmark", "seed": self.seed},
            "task": {
                **Segmentation.example(self.dataset),
                "samples": MOST,
                "latent": self.latent,
            },
            "measurement": {
                "ratio_range": [1 / least, 1 / most],
                "accelerations": list(self.accelerations),
            },
            "model": {"width": self.width},
            "training": {"rounds": 1, "local_steps": self.steps, "batch_size": 16, "flips": True},
            "evaluation": {"attacks": ["lmmse"]},
            "arms": [{"sampler": "infomri"}],
        }
        return parse_plan(tomli_w.dumps(table))


def trained(setting: Setting) -> SampledModel:
    """The arm after its schedule; everything random follows from the seed."""
    plan, dataset = setting.plan, setting.dataset
    rows = np.flatnonzero(dataset.table.split == "train")
    variance = torch.ones(2, *dataset.shape, device=setting.device)
    suppression = build_suppression("none", variance, None, plan.measurement.noise_std)
    model = build_model(plan, plan.arms[0]).to(setting.device)

    def fetch(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        images, targets = dataset.images(rows[batch]), plan.task.targets(dataset, rows[batch])
        return images.to(setting.device), targets.to(setting.device)

    stretch = Stretch(0, setting.steps, setting.steps, (setting.seed, "benchmark"))
    train_steps(model, plan, 0.0, suppression, len(rows), fetch, stretch)
    return model.eval()


@torch.no_grad()
def scored(setting: Setting, model: SampledModel) -> Figures:
    """Figures of held-out patients by ``way | acceleration | measure``: samples of latents (or of
    thresholds, without), the latents' mean, and thresholds of the mean probability; and by
    ``n | measure`` of the first n samples at the highest acceleration."""
    task, dataset = cast(Segmentation, model.task), setting.dataset
    rows = np.flatnonzero(dataset.table.split == "val")
    images, targets = dataset.images(rows), task.targets(dataset, rows)
    found: dict[str, float] = {}
    for acceleration in setting.accelerations:
        generator = torch_generator(setting.seed, "scored", acceleration, device=setting.device)
        y = model.acquire(images.to(setting.device), 1 / acceleration, generator).y
        ways = _ways(task, cast(LatentModel, model.network), y)
        for way, logits in ways.items():
            found |= figures_at(task, logits, targets, f"{way} | {acceleration:g}x")
        if acceleration == max(setting.accelerations):
            for n in SAMPLES:
                found |= figures_at(task, ways["samples"][:, :n], targets, f"{n} samples")
    return found


def _ways(task: Segmentation, latent: LatentModel, y: Tensor) -> dict[str, Tensor]:
    shape = task.shape
    noise = standard_normal((len(y), MOST, *latent_shape(shape)), 0, y.device)
    pairs = list(zip(y.split(_BATCH), noise.split(_BATCH)))
    samples = torch.cat([task.sampled(latent, part, z).cpu() for part, z in pairs])
    means = [
        latent.segmented(latent.given(two_channels(part)).mean[:, None], shape).cpu()
        for part, _ in pairs
    ]
    mean = torch.cat(means)
    if not task.latent:
        return {"samples": samples, "one mask": mean}
    return {"samples": samples, "one mask": mean, "thresholds": _thresholds(samples)}


def _thresholds(samples: Tensor) -> Tensor:
    """Nested masks of the samples' mean probability."""
    if samples.shape[2] == 1:
        p = torch.sigmoid(samples).mean(1, keepdim=True).clamp(1e-6, 1 - 1e-6)
        return threshold_logits(torch.logit(p), MOST)
    return threshold_logits(samples.softmax(2).mean(1, keepdim=True).log(), MOST)


def perfect(setting: Setting) -> Figures:
    """Of samples that the phantom's own posterior draws: what a perfect model scores."""
    data, rows = setting.dataset, np.flatnonzero(setting.dataset.table.split == "val")
    targets = cast(Segmentation, setting.plan.task).targets(data, rows)
    while isinstance(data, Subset):
        rows = data.indices[rows]
        data = data.parent
    if not isinstance(data, AmbiguousPhantom):
        raise InputError(
            setting.uri, "phantom:?ambiguous=1", "other data", "their posterior is not known"
        )
    task = cast(Segmentation, setting.plan.task)
    levels = numpy_generator(setting.seed, "perfect").uniform(size=(len(rows), MOST))
    logits = (40.0 * data.outlined(rows, levels).float() - 20.0)[:, :, None]
    found: dict[str, float] = {"D": float(data.spread(rows).mean()), "R": float(data.n_raters)}
    for n in SAMPLES:
        found |= figures_at(task, logits[:, :n], targets, f"{n} samples")
    return found


def figures_at(
    task: Segmentation, logits: Tensor, targets: Tensor, place: str
) -> dict[str, float]:
    """By ``place | measure`` the figures of samples' ``logits`` (B, S, C, H, W) against the
    raters' label maps (B, R, H, W)."""
    rows = [
        task.evidence(part, seen)
        for part, seen in zip(logits.split(_BATCH), targets.split(_BATCH))
    ]
    evidence = torch.cat(rows).double().numpy()
    evidence = evidence[parts(evidence)[0]]
    estimates = task.estimates(task.summarise(evidence, np.arange(len(evidence)) % SLOTS))
    values = {name: estimates[key].value for name, key in _MEASURES.items()}
    return {
        f"{place} | {name}": 1 - float(value or 0.0) if name == "U" else float(value or 0.0)
        for name, value in values.items()
    }
