"""Laws of every registered sampler: exact budgets, randomness, plan rules, one registry."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten, unflatten
from infomri_core.patterns.equispaced import exact_equispaced
from infomri_core.patterns.poisson import _taken, poisson_disk_mask
from infomri_core.patterns.radial import radial_mask
from infomri_core.patterns.spectrum import KINDS, Kind, spectrum_mask
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, read_plan
from infomri_core.prom.run import write_mask
from infomri_core.prom.solve import Solution
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.sampling import MaskSampler
from infomri_core.sampling.options import Setting
from infomri_core.sampling.pgn import PaperPatternGenerator
from infomri_core.sampling.registry import SAMPLERS, options_from, sampler_class, tells_of_patient
from infomri_core.sampling.samplers.spectrum import SpectrumPolicy
from infomri_core.sampling.stored_mask import packed, unpacked
from infomri_core.system.errors import InputError
from tests.support.small import local_sites, small_table, study

SHAPE = (16, 24)
VARIANCE = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(5))
MASKED = [name for name in SAMPLERS if not tells_of_patient(name)]
MASK = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 8 == 0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str, setting: Setting) -> MaskSampler:
    keys: dict[str, Any] = {"stored": {"mask": packed(MASK)}, "gaussian": {"std": 4.0}}
    options = options_from(name, keys.get(name, {}), "arm")
    assert [rule for rule in options.rules(setting) if not rule[0]] == []
    sampler = options.build(setting, VARIANCE, seeded())
    assert isinstance(sampler, MaskSampler)
    return sampler


def settings_of(name: str) -> list[tuple[Setting, float]]:
    """Settings that the sampler serves, each with a ratio; 1/8 of 384 points is a whole number."""
    if name in ("stored", "loupe", "puert"):
        return [(Setting(SHAPE, ratio_range=(1 / 8, 1 / 8)), 1 / 8)]
    columns = [(Setting(SHAPE, "1d", ratio_range=(0.1, 0.5)), r) for r in (1 / 8, 0.3)]
    points = [(Setting(SHAPE, ratio_range=(0.1, 0.5)), r) for r in (1 / 8, 0.3, 0.1234)]
    points = {"equispaced": [], "poisson-disk": points[1:2]}.get(name, points)
    return points + ([] if name in ("poisson-disk", "radial") else columns)


@pytest.mark.parametrize("name", MASKED)
def test_every_mask_keeps_the_budget_and_follows_from_its_randomness_alone(name: str) -> None:
    for setting, ratio in settings_of(name):
        masks = made(name, setting).at(ratio)
        drawn = masks.draw(20, seeded(1)).detach()
        assert drawn.shape == (20, *SHAPE) and set(drawn.unique().tolist()) == {0.0, 1.0}
        rows = 1 if setting.constraint == "2d" else SHAPE[0]
        units = drawn.sum((1, 2)).numpy() / rows
        wanted = ratio * SHAPE[0] * SHAPE[1] / rows
        assert np.all(np.abs(units - wanted) < 1)
        if rows > 1:
            assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
        assert torch.equal(drawn, masks.draw(20, seeded(1)).detach())
        one, same = (SecretStream.derived("sixteen bytes or more", "m") for _ in range(2))
        assert torch.equal(masks.draw(2, one).detach(), masks.draw(2, same).detach())
        assert float(masks.probability.detach().mean()) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("name", MASKED)
def test_the_budget_is_right_on_average(name: str) -> None:
    setting, ratio = settings_of(name)[-1]
    n = 60 if name == "poisson-disk" else 300
    counts = made(name, setting).at(ratio).draw(n, seeded(2)).detach().mean((1, 2))
    # One mask is off by less than a unit: five standard deviations of the mean.
    unit = 1 / SHAPE[1] if setting.constraint == "1d" else 1 / (SHAPE[0] * SHAPE[1])
    assert abs(float(counts.mean()) - ratio) <= 5 * unit / 2 / n**0.5


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_entry_says_all_that_figures_and_words_need(name: str) -> None:
    found = sampler_class(name)
    assert found.name == name and found.title and found.style.name
    if name in MASKED:
        assert bool(list(made(name, settings_of(name)[0][0]).parameters())) == found.learns


def test_no_two_samplers_look_alike() -> None:
    looks = [(c.style.colour, c.style.marker) for c in map(sampler_class, SAMPLERS)]
    assert len(set(looks)) == len(looks) == len({look[1] for look in looks})


def changed(arm: dict[str, Any], **measurement: Any) -> dict[str, Any]:
    table = small_table(rounds=1, local_steps=1)
    table["measurement"] |= measurement
    return table | {"arms": [arm]}


ONE = {"ratio_range": [0.125, 0.125], "accelerations": [8.0]}


@pytest.mark.parametrize(
    ("arm", "measurement", "words"),
    [
        ({"sampler": "equispaced"}, {}, "constraint = '1d'"),
        ({"sampler": "equispaced", "centre": 0.2}, {"constraint": "1d"}, "ratio_range"),
        ({"sampler": "gaussian", "std": 0.0}, {}, "0 < std"),
        ({"sampler": "gaussian", "centre": 1.0}, {}, "only known keys"),
        ({"sampler": "poisson-disk"}, {"constraint": "1d"}, "constraint = '2d'"),
        ({"sampler": "radial"}, {"constraint": "1d"}, "constraint = '2d'"),
        ({"sampler": "spectrum", "kind": "all"}, {}, "one-sided"),
        ({"sampler": "loupe"}, {}, "any_ratio = true"),
        ({"sampler": "infomri", "pgn": "small"}, {}, "platform | paper"),
        ({"sampler": "stored"}, {}, "the key 'mask'"),
        ({"sampler": "stored", "mask": "mask.npy"}, ONE, "open the plan as a file"),
        ({"sampler": "stored", "mask": packed(MASK)}, ONE, "(32, 32) as the images"),
        ({"sampler": "stored", "mask": packed(np.eye(32))}, ONE, "the mask's own ratio, 0.03125"),
        ({"sampler": "uniform", "suppression": "marginal", "beta": 1.0}, {}, "that learns"),
    ],
)
def test_what_a_sampler_cannot_serve_is_refused_in_the_plan(arm, measurement, words) -> None:
    with pytest.raises(InputError) as refusal:
        parse_plan(tomli_w.dumps(changed(arm, **measurement)))
    assert words in str(refusal.value)


def test_a_sampler_that_looks_at_the_patient_may_release_nothing(monkeypatch) -> None:
    table = changed({"sampler": "uniform"})
    table["release"] = {"arm": "uniform-s0", "acceleration": 8.0}
    assert parse_plan(tomli_w.dumps(table)).release is not None
    monkeypatch.setattr(sampler_class("uniform"), "of_patient", True)
    with pytest.raises(InputError, match="would tell of the patient"):
        parse_plan(tomli_w.dumps(table))


def stored_plan(folder: Path, mask: np.ndarray, name: str = "mask.npy") -> Plan:
    np.save(folder / "mask.npy", mask)
    (folder / "mask.json").write_text(str(mask.astype(int).tolist()), encoding="utf-8")
    arm, path = {"sampler": "stored", "mask": name}, folder / "plan.toml"
    path.write_text(tomli_w.dumps(changed(arm, **ONE)), encoding="utf-8")
    return read_plan(path)


def test_a_stored_mask_s_points_stand_in_the_plan(tmp_path: Path) -> None:
    mask = np.arange(1024).reshape(32, 32) % 8 == 3
    plan = stored_plan(tmp_path, mask)
    assert plan.digest == parse_plan(plan.text).digest == stored_plan(tmp_path, mask).digest
    assert stored_plan(tmp_path, mask, "mask.json").arms == plan.arms
    model = build_model(plan, plan.arms[0])
    drawn = model.draw(1 / 8, 3, seeded())
    assert torch.equal(drawn, torch.from_numpy(mask).float().expand(3, 32, 32))
    assert stored_plan(tmp_path, np.roll(mask, 1)).digest != plan.digest
    with pytest.raises(InputError, match="fit their sha256"):
        unpacked(packed(mask)[:-12] + packed(~mask)[-12:])


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((32, 32), 0.5), "binarise"),
        (np.zeros((32, 32)), "binarise"),
        (np.ones(32), "float64 (32,)"),
    ],
)
def test_a_file_that_is_no_mask_is_refused(tmp_path: Path, mask: np.ndarray, words: str) -> None:
    for name in ("mask.npy", "mask.json"):
        with pytest.raises(InputError) as refusal:
            stored_plan(tmp_path, mask, name)
        assert words.partition(" (")[0] in str(refusal.value) or "binarise" in str(refusal.value)
    with pytest.raises(InputError, match="check the path"):
        stored_plan(tmp_path, mask, "none.npy")


def test_the_mask_that_prom_writes_is_an_arm(tmp_path: Path) -> None:
    theta = torch.rand(32, 32, generator=seeded())
    mask = theta >= theta.flatten().topk(128).values[-1]
    write_mask(tmp_path, Solution(theta, mask, 128, "2d"), {})
    arm, path = {"sampler": "stored", "mask": "mask.npy"}, tmp_path / "plan.toml"
    path.write_text(tomli_w.dumps(changed(arm, **ONE)), encoding="utf-8")
    model = build_model(read_plan(path), read_plan(path).arms[0])
    assert torch.equal(model.draw(1 / 8, 1, seeded())[0].bool(), mask)


def test_the_paper_s_network_has_16_4_thousand_parameters() -> None:
    n = sum(p.numel() for p in PaperPatternGenerator((128, 128)).parameters())
    assert n == 128 * 128 + 4 * 16 + 1
    paper = options_from("infomri", {"pgn": "paper"}, "arm").build(Setting((8, 8)), None, seeded())
    masks = paper.at(0.25).draw(4, seeded())
    (masks * torch.arange(64.0).view(8, 8)).sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in paper.parameters())


def test_loupe_starts_uniform_and_learns_every_point() -> None:
    options = options_from("loupe", {"any_ratio": True}, "arm")
    loupe = options.build(Setting((32, 32)), None, seeded())
    density = loupe.policy.density(0.5).detach().flatten().sort().values
    assert float((density - torch.linspace(0.01, 0.99, 1024)).abs().max()) < 0.08
    (loupe.at(0.2).draw(2, seeded()) * torch.rand(32, 32, generator=seeded())).sum().backward()
    assert int((loupe.policy.weight.grad != 0).sum()) == 1024


@pytest.mark.parametrize("kind", KINDS)
def test_the_spectrum_takes_the_best_points_and_its_order_travels(kind: Kind) -> None:
    energy = torch.rand(SHAPE, generator=seeded(3))
    policy = SpectrumPolicy(SHAPE, "2d", kind, energy)
    fresh = SpectrumPolicy(SHAPE, "2d", kind, None)
    unflatten(fresh, flatten(policy))
    for n in (1, 48, 200):
        wanted = spectrum_mask(energy, n, kind).float()
        assert torch.allclose(fresh(n / energy.numel()), wanted, atol=1e-6)


def test_equispaced_columns_are_even_beside_a_full_centre() -> None:
    columns = exact_equispaced(256, 40, seeded())[0]
    middle = columns[123:133]
    assert int(columns.sum()) == 40 and bool(middle.all())
    left = columns[:123].nonzero()[:, 0].diff()
    assert int(left.max() - left.min()) <= 1
    with pytest.raises(InputError, match="more than the 10 columns"):
        exact_equispaced(256, 8)


def test_a_poisson_disk_is_what_trying_points_in_order_gives() -> None:
    shape, slope = (12, 15), 6.0
    order = torch.randperm(180, generator=seeded())
    found = _taken(order, shape, slope)
    taken = np.zeros(shape, bool)
    for k in order.tolist():
        r, c = divmod(k, shape[1])
        radius = int(slope * np.hypot((r - 6) / 6, (c - 7) / 7) / 2**0.5)
        near = taken[max(0, r - radius) : r + radius + 1, max(0, c - radius) : c + radius + 1]
        taken[r, c] = not near.any()
    assert np.array_equal(found.numpy(), taken)
    mask = poisson_disk_mask((64, 64), 512, seeded())
    inner, whole = mask[24:40, 24:40].float().mean(), mask.float().mean()
    assert float(inner) > 2 * float(whole)


def test_spokes_go_through_the_centre_and_count_exactly() -> None:
    for shape, n in (((32, 32), 100), ((15, 20), 1), ((15, 20), 300), ((9, 9), 40)):
        mask = radial_mask(shape, n)
        assert int(mask.sum()) == n and bool(mask[shape[0] // 2, shape[1] // 2])


def test_a_study_trains_scores_and_attacks_every_kind_of_mask(
    tmp_path: Path,
) -> None:
    table = changed({"sampler": "uniform"})
    names = ("gaussian", "spectrum")
    learned = {"sampler": "loupe", "any_ratio": True, "suppression": "marginal", "beta": 1e-4}
    table["arms"] = [*({"sampler": name} for name in names), learned]
    table["evaluation"] = {"attacks": ["lmmse"], "attack_slices": 1, "noise": False}
    plan = parse_plan(tomli_w.dumps(table))
    rows = study(plan, local_sites(tmp_path), tmp_path).run()
    assert {row.sampler for row in rows} == {*names, "loupe"}
    assert all(set(row.psnr) == {"lmmse"} and row.redundancy is not None for row in rows)
