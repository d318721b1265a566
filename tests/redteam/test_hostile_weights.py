"""Weights and attacks that a hostile centre chooses so that arithmetic itself tells of a patient.

Rounding beyond the clip, subnormal numbers that take time, attacks that break down for one image.
"""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.base import Attack
from infomri_core.attacks.registry import ATTACKS
from infomri_core.audit.adversaries import Adversaries
from infomri_core.data import open_dataset
from infomri_core.dp.dp import clip_weights
from infomri_core.dp.per_sample import Layer, policy_gradients, squares, weighted_sum
from infomri_core.messages import DatasetCard
from infomri_core.plan.plan import Plan
from infomri_core.sampling import UniformPolicy
from infomri_core.site.site import open_site
from infomri_core.system.device import even_time
from tests.support.vault_fakes import enrol_task, make_plan

MARGIN = 1 + 2.0**-8


def ghost_layer(offset: float, seed: int = 0) -> tuple[Layer, nn.Conv2d]:
    """One sample in a layer whose norm comes from Gram matrices: an input that differs by the last
    bits of a large offset, under output gradients that sum to zero. A bias of the layer before and
    weights of the layer behind make both."""
    rng = torch.Generator().manual_seed(seed)
    module = nn.Conv2d(64, 128, 1, bias=False)
    inputs = offset * (1 + torch.randint(0, 2, (1, 64, 4, 4), generator=rng) * 2.0**-23)
    gradients = torch.randint(-8, 9, (1, 128, 4, 4), generator=rng).float()
    gradients[:, :, 0, 0] -= gradients.sum((2, 3))
    layer = Layer(module, inputs.float())
    layer.note(gradients)
    return layer, module


@pytest.mark.parametrize("offset", [1.0, 1e3, 1e7, 3e7, 1e8, 1e10])
def test_no_weights_make_a_sample_add_more_than_the_clip(offset: float) -> None:
    """Its norm was right and its gradient, summed in float32, had up to 1.9 clips."""
    layer, module = ghost_layer(offset)
    weights = clip_weights(layer.squared_norms(), 1.0)
    assert layer._kept is None, "the ghost norm is what is tested"
    assert float(layer.weighted(weights)[module.weight].double().norm()) <= MARGIN


def test_a_usual_sample_is_clipped_to_the_clip_and_no_shorter() -> None:
    module, rng = nn.Conv2d(64, 128, 1, bias=False), torch.Generator().manual_seed(2)
    layer = Layer(module, torch.randn(1, 64, 4, 4, generator=rng))
    layer.note(torch.randn(1, 128, 4, 4, generator=rng))
    weights = clip_weights(layer.squared_norms(), 1.0)
    assert layer._kept is None
    assert float(layer.weighted(weights)[module.weight].double().norm()) > 1 - 2.0**-8


@pytest.mark.parametrize("size", [1.0, 1e20, 2e38])
def test_no_mask_gradients_make_a_sample_add_more_than_the_clip_to_the_policy(size: float) -> None:
    """Gradients to the mask that cancel in the policy's parameters, or whose sum over the batch
    passes float32 though each is finite: one bit of who is there, past all noise."""
    logits = nn.Parameter(torch.zeros(8, 8))
    gain = nn.Parameter(torch.tensor(1.0))
    signs = torch.tensor([1e-37, -1e-37]).repeat(8, 4)
    probabilities = torch.sigmoid(logits * 1e-30 + gain * signs)
    given = size * torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = policy_gradients(probabilities, [logits, gain], given)
    norms = torch.stack([squares(g) for g in found]).sum(0)
    assert bool(torch.isfinite(norms).all())
    weights = clip_weights(norms, 1.0)
    for i in range(len(weights)):
        alone = torch.zeros_like(weights)
        alone[i] = weights[i]
        sums = [weighted_sum(alone, g) for g in found]
        assert sum(float(g.double().square().sum()) for g in sums) ** 0.5 <= MARGIN
    assert all(bool(torch.isfinite(weighted_sum(weights, g)).all()) for g in found)


def test_a_site_computes_without_subnormal_numbers_and_leaves_the_thread_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose activations are subnormal for one patient alone took up to eleven times as
    long for him: the time of a scoring told that he is there, past its noise."""
    dataset = open_dataset("phantom:?hospital=north&patients=10&slices=1&size=16&seed=1")
    plan = make_plan(task={"labels": list(dataset.table.label_names), "shape": [16, 16]})
    site, found = open_site(dataset, "north", tmp_path, "cpu", "aa"), []
    enrol = site.enrol

    def looked(*given: Plan) -> DatasetCard:
        found.append(_subnormal_stays())
        return enrol(*given)

    monkeypatch.setattr(site, "enrol", looked)
    assert _subnormal_stays()
    site.run(plan, enrol_task(plan), lambda: False)
    assert found == [False] and _subnormal_stays()


def test_threads_of_a_vault_inherit_it() -> None:
    found: list[bool] = []
    with even_time():
        inner = threading.Thread(target=lambda: found.append(_subnormal_stays()))
        inner.start()
        inner.join()
    assert found == [False] and _subnormal_stays()


def _subnormal_stays() -> bool:
    return bool((torch.full((64,), 1e-38) * 0.01).abs().max() > 0)


def fitted(name: str) -> Attack:
    """A small attack of each kind, fitted on noise."""
    images = torch.rand(12, 16, 16, generator=torch.Generator().manual_seed(0))
    learned = name not in ("lmmse", "tv", "wavelet")
    attack = attacks.build(name, (16, 16), **({"n_steps": 1} if learned else {}))
    policies = [UniformPolicy((16, 16))]
    patients = np.arange(12)
    rng = torch.Generator().manual_seed(1)
    return attack.fit(AuditSet.of(images, policies, [0.25], 0.02, rng, patients=patients))


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "ensemble"])
@pytest.mark.parametrize("fill", [1e38, -1e38, 1e-40, 0.0])
def test_no_weights_break_an_attack_down_for_some_images_only(name: str, fill: float) -> None:
    """That an attack broke down leaves as it is, outside the noise of scores."""
    attack = fitted(name)
    arrays = {key: np.array(value) for key, value in attack.to_arrays().items()}
    for key, value in arrays.items():
        if value.dtype == np.float32 and value.size > 16:
            arrays[key] = np.full_like(value, fill)
    try:
        hostile = attacks.build(name, (16, 16)).load(arrays)
    except ValueError:
        return  # refused before an image was read
    broken = set()
    for images in (torch.zeros(2, 16, 16), torch.ones(2, 16, 16), torch.rand(2, 16, 16)):
        adversaries = Adversaries({name: hostile})
        masks = torch.ones(2, 16, 16)
        with torch.no_grad():
            adversaries.reconstruct(
                ("arm", 4.0), images.to(torch.complex64) * 1e3, masks, torch.zeros(2, 1)
            )
        broken.add(tuple(adversaries.failed.items()))
    assert len(broken) == 1
