"""Laws of samplers that decide as they measure: budget, causality, gradient, and refusals."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

from fl_server.inference.mask_export import draw_mask_set
from fl_server.inference.trained_arm import TrainedArm
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.plan.reading import parse_plan
from infomri_core.sampling.masks import draw_counts
from infomri_core.sampling.options import Setting
from infomri_core.sampling.registry import SAMPLERS, options_from, tells_of_patient
from infomri_core.sampling.sequential.turns import Sequential, spread
from infomri_core.system.errors import InputError
from tests.support.securesites import federation, secure_plan
from tests.support.small import local_sites, small_table, study

NAMES = [name for name in SAMPLERS if tells_of_patient(name)]
SHAPES = ((16, 24), (15, 21))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str, setting: Setting, **keys: Any) -> Sequential:
    """One whose weights are not those of the start, where nothing is looked at yet."""
    sampler = options_from(name, keys, "arm").build(setting, None, seeded())
    assert isinstance(sampler, Sequential)
    with torch.no_grad():
        for parameter in sampler.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=seeded(1))
    return sampler


def kspace(n: int, shape: tuple[int, int], seed: int = 3) -> Tensor:
    return fft2c(torch.rand(n, *shape, generator=seeded(seed)))


def masks(sampler: Sequential, k: Tensor, ratio: float, seed: int = 4) -> Tensor:
    return sampler.acquire(k, ratio, lambda: torch.zeros_like(k), seeded(seed)).mask.detach()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("constraint", ["2d", "1d"])
def test_every_mask_keeps_the_budget_in_whole_units(name: str, constraint: Any) -> None:
    for shape in SHAPES:
        sampler = made(name, Setting(shape, constraint))
        rows = 1 if constraint == "2d" else shape[0]
        n_units = shape[0] * shape[1] / rows
        for ratio in (1 / 8, 0.3, 1 / n_units, 1.0):
            drawn = masks(sampler, kspace(40, shape), ratio)
            assert set(drawn.unique().tolist()) <= {0.0, 1.0}
            assert rows == 1 or torch.equal(drawn, drawn[:, :1].expand_as(drawn))
            units = drawn.sum((1, 2)) / rows
            assert bool(((units - ratio * n_units).abs() < 1).all())
            # One mask is off by less than a unit: five standard deviations of the mean.
            assert abs(float(units.mean()) - ratio * n_units) <= 5 / 2 / 40**0.5


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_measured_changes_nothing_and_what_is_measured_does(name: str) -> None:
    shape = SHAPES[0]
    sampler, k = made(name, Setting(shape)), kspace(4, shape)
    drawn = masks(sampler, k, 0.25)
    elsewhere = torch.where(drawn > 0, k, 5 * kspace(4, shape, seed=9))
    assert torch.equal(masks(sampler, elsewhere, 0.25), drawn)
    assert not torch.equal(masks(sampler, kspace(4, shape, seed=9), 0.25), drawn)


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_knows_only_the_turns_before_it(name: str) -> None:
    """With one turn after the centre, nothing but the centre matters."""
    shape = SHAPES[1]
    sampler, k = made(name, Setting(shape), turns=1, centre=0.5), kspace(4, shape)
    drawn, n_first = masks(sampler, k, 0.3), int(0.5 * int(0.3 * 15 * 21))
    first = (sampler.get_buffer("rank") < n_first).view(shape)
    assert bool(drawn[:, first].all())
    assert torch.equal(masks(sampler, torch.where(first, k, 3 * k), 0.3), drawn)


@pytest.mark.parametrize("name", NAMES)
def test_a_point_has_its_noise_whenever_it_is_measured(name: str) -> None:
    shape = SHAPES[0]
    k = kspace(3, shape)
    noise = complex_noise(k, 0.1, seeded(5))
    found = made(name, Setting(shape)).acquire(k, 0.2, lambda: noise, seeded(6))
    assert torch.equal(found.y.detach(), (k + noise) * found.mask.detach())


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    shape = SHAPES[0]
    sampler, k = made(name, Setting(shape)), kspace(3, shape)
    turns = sampler.practise(k, 0.2, lambda: torch.zeros_like(k), seeded(6))
    chances = [turn.log_prob for turn in turns if turn.log_prob is not None]
    value = torch.rand(shape, generator=seeded(7))
    (sum(chances).sum() if chances else (turns[-1].mask * value).sum()).backward()
    grads = {n: p.grad for n, p in sampler.named_parameters()}
    assert [n for n, g in grads.items() if g is None or not float(g.abs().max()) > 0] == []


def test_a_draw_has_its_counts_and_its_probabilities_and_their_gradient() -> None:
    n = 4000
    taken = torch.zeros(n, 30)
    taken[:, :7] = 1
    counts = torch.arange(n) % 3 + 4
    score = torch.rand(30, generator=seeded()).expand(n, 30).clone().requires_grad_()
    p = spread(score, taken, counts)
    drawn = draw_counts(p, counts, seeded(1))
    assert torch.equal(drawn.sum(1).round().long(), counts) and not drawn[:, :7].any()
    off = (drawn.detach() - p.detach()).mean(0).abs()
    assert bool((off <= 10 * (0.25 / n) ** 0.5).all())
    weights = torch.rand(n, 30, generator=seeded(2)).double()
    (direct,) = torch.autograd.grad((p * weights).sum(), score, retain_graph=True)
    (through,) = torch.autograd.grad((drawn * weights).sum(), score)
    assert torch.allclose(direct, through)


def table(arm: dict[str, Any], **more: Any) -> dict[str, Any]:
    return small_table(rounds=1, local_steps=1) | {"arms": [arm]} | more


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("arm", "more", "words"),
    [
        ({"suppression": "marginal", "beta": 1e-3}, {}, "none with a sampler that decides"),
        ({"turns": 0}, {}, "1 .. "),
        ({"centre": 1.0}, {}, "0 .. 0.9"),
        ({}, {"privacy": {"noise_multiplier": 1.0, "rate": 0.1}}, "gradient through a sampler"),
        ({}, {"release": {"acceleration": 8.0}}, "would tell of the patient"),
    ],
)
def test_what_cannot_be_is_refused_in_the_plan(
    name: str, arm: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    made = {key: dict(value) for key, value in more.items()}
    if "release" in made:
        made["release"]["arm"] = f"{name}-s0"
    with pytest.raises(InputError) as refusal:
        parse_plan(tomli_w.dumps(table({"sampler": name, **arm}, **made)))
    assert words in str(refusal.value)


def test_its_masks_are_not_exported() -> None:
    plan = parse_plan(tomli_w.dumps(table({"sampler": "seqmri"})))
    trained = TrainedArm(plan, plan.arms[0], build_model(plan, plan.arms[0]), 1)
    with pytest.raises(InputError, match="says nothing of the patient"):
        draw_mask_set(trained, 8.0, 1, 0, lambda: None)


def test_a_study_trains_attacks_and_says_what_masks_tell(tmp_path: Path) -> None:
    arms = [{"sampler": name} for name in (*NAMES, "uniform")]
    plan = parse_plan(
        tomli_w.dumps(
            table({}, evaluation={"attacks": ["lmmse"], "attack_slices": 1}) | {"arms": arms}
        )
    )
    made = study(plan, local_sites(tmp_path), tmp_path)
    rows = made.run()
    assert {row.sampler for row in rows} == {*NAMES, "uniform"}
    assert all(row.redundancy is not None and row.psnr_worst is not None for row in rows)
    report = (tmp_path / "run" / "privacy-report.html").read_text("utf-8")
    assert "Masks that tell of the patient" in report and "decide as they measure" in report


def test_secure_aggregation_sums_its_weights(tmp_path: Path) -> None:
    states = []
    for secure in (False, True):
        changed = secure_plan(secure, arms=[{"sampler": "seqmri"}])
        with federation(tmp_path / str(secure), changed) as sites:
            states.append(sites.train())
    plain, masked = (state.arms["seqmri-s0"] for state in states)
    assert (plain == masked).all() and (
        plain != flatten(build_model(changed, changed.arms[0]))
    ).any()
