"""Baselines of segmentation that are trained in stages: which parts each stage trains, and by what
loss, over the one loop of optimizer steps."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.benchmark.benchmark import Figures
from infomri_core.benchmark.latent_study import MOST, Setting, figures_at
from infomri_core.fitting.loop import Stretch, descend, finite
from infomri_core.models.latent_blocks import decoder, encoder, padded
from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import derive_seed, numpy_generator, torch_generator
from infomri_core.reconstruction.unet import FastMRIUNet
from infomri_core.sampling import Sampler
from infomri_core.sampling.registry import options_from
from infomri_core.tasks.outlining.scores import (
    drawn_rater,
    indicators,
    negative_log_likelihood,
    threshold_logits,
    two_channels,
)
from infomri_core.tasks.segmentation import Segmentation

SAMPLER = "sampler"
LATENTS = 4
"""Channels of LI-Net's latent image."""


class Batch(NamedTuple):
    """Of a step: true images and one rater's label map (B, H, W), and y (B, H, W)."""

    images: Tensor
    labels: Tensor
    measurement: Tensor


@final
class Rebuilder(nn.Module):
    """The zero-filled magnitude and what fastMRI's U-Net of both parts (B, 2, H, W) adds, as
    (B, 1, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = FastMRIUNet(2, 1, width)
        nn.init.zeros_(self.network.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x.norm(dim=1, keepdim=True) + self.network(x)
        return found


@final
class Staged(nn.Module):
    """A ``sampler`` and networks by name, of which :meth:`logits` makes a segmentation."""

    def __init__(
        self, sampler: Sampler, parts: Mapping[str, nn.Module], chain: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.sampler, self.parts, self._chain = sampler, nn.ModuleDict(dict(parts)), chain

    def logits(self, measurement: Tensor) -> Tensor:
        """Logits (B, C, H, W) of k-space (B, H, W)."""
        x = two_channels(measurement)
        height, width = x.shape[-2:]
        for name in self._chain:
            x = self.parts[name](padded(x) if name == "measured" else x)
        return x[..., :height, :width]

    def learned(self, names: tuple[str, ...]) -> list[nn.Module]:
        """The modules of those names."""
        return [self.sampler if name == SAMPLER else self.parts[name] for name in names]


Loss = Callable[[Staged, Batch, int], Tensor]
"""The loss of a batch, with the number of classes."""


@final
@dataclass(frozen=True)
class Stage:
    """Some steps that train the parts named ``trains`` by ``loss``; the others do not move."""

    trains: tuple[str, ...]
    loss: Loss


@final
@dataclass(frozen=True)
class Protocol:
    """A published method: its sampler in a plan's words, its networks, and its stages."""

    sampler: str
    kind: str
    stages: tuple[Stage, ...]


def _image(model: Staged, batch: Batch, n_classes: int) -> Tensor:
    rebuilt = model.parts["image"](two_channels(batch.measurement))[:, 0]
    return functional.mse_loss(rebuilt, batch.images)


def _outline(model: Staged, batch: Batch, n_classes: int) -> Tensor:
    logits = model.logits(batch.measurement)
    return negative_log_likelihood(logits, batch.labels).mean() / batch.labels[0].numel()


def _both(model: Staged, batch: Batch, n_classes: int) -> Tensor:
    return _image(model, batch, n_classes) + _outline(model, batch, n_classes)


def _outlined(batch: Batch, n_classes: int) -> Tensor:
    """What an autoencoder of outlines sees and gives back: background and classes, or one."""
    found = indicators(batch.labels, n_classes)
    if n_classes == 1:
        return found
    return torch.cat((1 - found.amax(1, keepdim=True), found), dim=1)


def _itself(model: Staged, batch: Batch, n_classes: int) -> Tensor:
    """LI-Net's first stage (InfoMRI, Eq. 38)."""
    outline = _outlined(batch, n_classes)
    again = model.parts["decode"](model.parts["encode"](padded(outline)))
    height, width = outline.shape[-2:]
    again = again[..., :height, :width]
    again = torch.sigmoid(again) if n_classes == 1 else again.softmax(1)
    return functional.mse_loss(again, outline)


def _latent(model: Staged, batch: Batch, n_classes: int) -> Tensor:
    """LI-Net's second stage (InfoMRI, Eq. 39)."""
    with torch.no_grad():
        wanted = model.parts["encode"](padded(_outlined(batch, n_classes)))
    found = model.parts["measured"](padded(two_channels(batch.measurement)))
    return functional.mse_loss(found, wanted)


_RS = (Stage(("image",), _image), Stage(("outline",), _outline))
_LOUPE_RS = (Stage((SAMPLER, "image"), _image), Stage(("outline",), _outline))
_LI = (Stage(("encode", "decode"), _itself), Stage(("measured",), _latent))
_LOUPE_LI = (_LI[0], Stage((SAMPLER, "measured"), _latent))
_ALL = (SAMPLER, "image", "outline")

PROTOCOLS: Mapping[str, Protocol] = {
    "TradPat-UNet-RS, variable density": Protocol("variable-density", "unets", _RS),
    "LOUPE-UNet-RS": Protocol("loupe", "unets", _LOUPE_RS),
    "SemuNet": Protocol("loupe", "unets", (Stage(_ALL, _both),)),
    "Tackle": Protocol("loupe", "unets", (Stage(_ALL, _outline),)),
    "LI-Net, variable density": Protocol("variable-density", "li-net", _LI),
    "LOUPE-LI-Net": Protocol("loupe", "li-net", _LOUPE_LI),
}
"""As the paper describes them; LOUPE here serves all ratios, and each stage takes the whole
schedule."""


def fresh(protocol: Protocol, setting: Setting, plan: Plan) -> Staged:
    """The untrained model of a protocol, seeded by the setting."""
    task, width = cast(Segmentation, plan.task), setting.width
    n_classes = len(task.outlines)
    n_out = 1 if n_classes == 1 else n_classes + 1
    keys = {"any_ratio": True} if protocol.sampler == "loupe" else {}
    generator = torch_generator(setting.seed, "policy")
    sampler = options_from(protocol.sampler, keys, "arm").build(plan.setting, None, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(setting.seed, "network"))
        if protocol.kind == "unets":
            outline = FastMRIUNet(1, n_out, width)
            parts = {"image": Rebuilder(width), "outline": outline}
            return Staged(sampler, parts, ("image", "outline"))
        made: dict[str, nn.Module] = {
            "encode": encoder(n_out, LATENTS, width),
            "decode": decoder(LATENTS, n_out, width),
            "measured": encoder(2, LATENTS, width),
        }
    return Staged(sampler, made, ("measured", "decode"))


def trained_in_stages(protocol: Protocol, setting: Setting) -> Staged:
    """The model after all stages, each of the setting's steps; everything random follows from the
    seed, and batches, ratios and raters are the same for every protocol."""
    plan, dataset = setting.plan, setting.dataset
    model = fresh(protocol, setting, plan).to(setting.device)
    rows = np.flatnonzero(dataset.table.split == "train")
    for number, stage in enumerate(protocol.stages):
        _train(model, stage, setting, plan, rows, number)
    return model.requires_grad_(False).eval()


def _train(
    model: Staged, stage: Stage, setting: Setting, plan: Plan, rows: np.ndarray, number: int
) -> None:
    task, rules = cast(Segmentation, plan.task), plan.training
    stream = (setting.seed, "staged", number)
    order = numpy_generator(*stream, "batches")
    generator = torch_generator(*stream, "masks", device=setting.device)
    low, high = plan.measurement.ratio_range
    size = min(rules.batch_size, len(rows))
    model.requires_grad_(False)
    groups = []
    for module in model.learned(stage.trains):
        module.requires_grad_(True)
        policy = module is model.sampler
        rate = rules.policy_learning_rate if policy else rules.learning_rate
        groups.append({"params": list(module.parameters()), "base": rate})
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.Adam(groups, lr=rules.learning_rate)

    def gradient(step: int) -> None:
        chosen = rows[order.choice(len(rows), size, replace=False)]
        images, targets = setting.dataset.images(chosen), task.targets(setting.dataset, chosen)
        if order.random() < 0.5:
            images, targets = task.augment(images, targets)
        images, targets = images.to(setting.device), targets.to(setting.device)
        rater = torch.randn(len(chosen), generator=generator, device=generator.device)
        ratio, std = order.uniform(low, high), plan.measurement.noise_std
        y = measured(model.sampler, images, ratio, std, generator)
        batch = Batch(images, drawn_rater(targets, rater), y)
        finite(stage.loss(model, batch, len(task.outlines))).backward()

    for _ in descend(optimizer, Stretch(0, setting.steps, setting.steps), gradient):
        pass


def measured(
    sampler: Sampler, images: Tensor, ratio: float, noise_std: float, generator: torch.Generator
) -> Tensor:
    """y (B, H, W) of images (B, H, W), with masks and noise of their own."""
    kspace = fft2c(images)
    noise = functools.cache(lambda: complex_noise(kspace, noise_std, generator))
    return sampler.acquire(kspace, ratio, noise, generator).y


@torch.no_grad()
def scored_in_stages(setting: Setting, model: Staged) -> Figures:
    """Figures of held-out patients by ``way | acceleration | measure``: its one mask, and
    thresholds of its probability as samples; and its number of parameters."""
    plan, dataset = setting.plan, setting.dataset
    task = cast(Segmentation, plan.task)
    rows = np.flatnonzero(dataset.table.split == "val")
    images, targets = dataset.images(rows).to(setting.device), task.targets(dataset, rows)
    found = {"parameters": float(sum(p.numel() for p in model.parameters()))}
    for acceleration in setting.accelerations:
        generator = torch_generator(setting.seed, "scored", acceleration, device=setting.device)
        std = plan.measurement.noise_std
        y = measured(model.sampler, images, 1 / acceleration, std, generator)
        logits = model.logits(y)[:, None].cpu()
        found |= figures_at(task, logits, targets, f"one mask | {acceleration:g}x")
        cut = threshold_logits(logits, MOST)
        found |= figures_at(task, cut, targets, f"thresholds | {acceleration:g}x")
    return found
