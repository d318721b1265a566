"""Moments from the sites: what one patient can change is bounded, noised, paid for, and asked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_client.gate.budget import spent
from fl_server.run import checkpoint
from fl_server.study.moments import public_moments
from infomri_core.data import open_dataset
from infomri_core.dp.accounting import epsilon
from infomri_core.dp.moments import clipped_share, merged_variance, noised_moments
from infomri_core.messages import ErrorReply, MomentsReply, MomentsTask, SiteReply, SiteTask
from infomri_core.messages.moments import moments_from
from infomri_core.physics.entropy import self_conjugate
from infomri_core.physics.kspace import fft2c, reflect
from infomri_core.plan.plan import Moments, Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.score_noise.mechanism import noise_multiplier
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError, Refused
from tests.server.test_study import Wrapped
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_table, study
from tests.support.vault_fakes import (
    FAR,
    SHAPE,
    FakeSite,
    ask,
    enrol_task,
    jobs_in,
    make_plan,
    make_table,
    refusal,
    train_task,
)

PRIVACY = {"noise_multiplier": 1.0, "rate": 2 / 13, "lot": 2, "losses": True}
EXACT = Moments(noise_multiplier=1e-9, clip=1e3)


def asking(plan: Plan, fill: float = 0.0) -> MomentsTask:
    return MomentsTask(plan.text, FAR, np.full((2, *SHAPE), fill, np.float32))


def opted(**moments: Any) -> Plan:
    rules = {"noise_multiplier": 2.0, "clip": 1.0, **moments}
    return make_plan(privacy=PRIVACY, moments=rules, evaluation={"attacks": ["lmmse"]})


def rows_of(n: int, slices: int) -> list[np.ndarray]:
    return list(np.arange(n * slices).reshape(n, slices))


def images_of(n: int, shape: tuple[int, int], seed: int) -> torch.Tensor:
    return torch.rand((n, *shape), generator=torch.Generator().manual_seed(seed))


def total(rules: Moments, units: list[np.ndarray], images: torch.Tensor, seed: int = 0) -> Any:
    mean = torch.zeros(2, *images.shape[1:])
    stream = SecretStream.public("moments", seed)
    return noised_moments(rules, units, lambda rows: images[rows], mean, stream)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([(8, 8), (7, 6), (5, 9)]),
    st.floats(1e-3, 1e3),
    st.integers(1, 3),
    st.floats(0, 1e4),
)
def test_one_patient_more_changes_the_sum_by_the_clip_at_most(
    shape: tuple[int, int], clip: float, slices: int, scale: float
) -> None:
    rules, units = Moments(noise_multiplier=1.0, clip=clip), rows_of(4, slices)
    images = images_of(4 * slices, shape, 3)
    images[:slices] *= scale
    # The same stream gives the same noise: what is left is the patient.
    change = (total(rules, units, images) - total(rules, units[1:], images)).double()
    assert float(change.norm()) <= clip * (1 + 1e-4) + 1e-4


def test_a_patient_whose_images_are_not_finite_adds_nothing() -> None:
    images, rules, units = images_of(6, SHAPE, 1), Moments(1.0, 1.0), rows_of(6, 1)
    images[0] = torch.inf
    torch.testing.assert_close(total(rules, units, images), total(rules, units[1:], images))


def test_the_noise_has_the_standard_deviation_of_the_mechanism() -> None:
    shape, rules = (64, 64), Moments(noise_multiplier=3.0, clip=2.0)
    noise = total(rules, [], torch.zeros(0, *shape)).double()
    own = self_conjugate(shape)
    # Off the points that are their own partner, two draws are averaged.
    assert float(noise[:, ~own].std()) == pytest.approx(6.0 / np.sqrt(2), rel=0.03)
    assert torch.equal(noise, reflect(noise)) and (noise[1][own] == 0).all()
    assert not torch.equal(noise, total(rules, [], torch.zeros(0, *shape), seed=1).double())


@pytest.mark.parametrize("shape", [(16, 16), (9, 12)])
def test_without_noise_the_merged_variance_is_the_second_moment(shape: tuple[int, int]) -> None:
    images = images_of(12, shape, 5)
    exact = torch.view_as_real(fft2c(images.double())).movedim(-1, 1).square().mean(0)
    public = public_moments(images_of(12, shape, 6)).variance
    halves = [total(EXACT, rows_of(4, 2), images[:8]), total(EXACT, rows_of(2, 2), images[8:])]
    merged = merged_variance(EXACT, [t.numpy() for t in halves], [4, 2], public)
    own = self_conjugate(shape)
    exact[1][own] = 0
    seen = exact >= 0.011 * public
    np.testing.assert_allclose(merged[seen], exact[seen].float(), rtol=1e-4, atol=1e-6)


def test_where_the_noise_drowns_the_moments_the_public_value_stands() -> None:
    public = public_moments(images_of(12, SHAPE, 6)).variance
    wild = [total(Moments(1e6, 1.0), rows_of(2, 1), images_of(2, SHAPE, 1)).numpy()]
    merged = merged_variance(Moments(1e6, 1.0), wild, [2], public)
    np.testing.assert_allclose(merged, public.float(), rtol=1e-2)
    assert (merged >= 0.0099 * public).all()


def test_the_clip_is_judged_on_public_patients() -> None:
    images, mean = images_of(8, SHAPE, 2), torch.zeros(2, *SHAPE)
    shares = [clipped_share(c, rows_of(4, 2), lambda r: images[r], mean) for c in (1e-6, 1e6)]
    assert shares == [1.0, 0.0]


def test_a_plan_has_moments_only_beside_privacy() -> None:
    with pytest.raises(InputError, match="privacy"):
        make_plan(moments={"noise_multiplier": 1.0, "clip": 1.0})
    for odd in ({"noise_multiplier": 0.0}, {"clip": -1.0}):
        with pytest.raises(InputError, match="moments"):
            opted(**odd)
    assert opted().moments == Moments(2.0, 1.0)


def summing_site() -> FakeSite:
    site = FakeSite(make_table(n_train=13))
    real = np.zeros((2, *SHAPE), np.float32)
    real[0] = 1.0
    plain = site.run

    def run(plan: Plan, task: SiteTask, cancelled: Any) -> SiteReply:
        if isinstance(task, MomentsTask) and site.result is None:
            site.calls += 1
            return MomentsReply(real, 13, epsilon=0.0)
        return plain(plan, task, cancelled)

    site.run = run  # type: ignore[method-assign]
    return site


def test_moments_leave_rounded_and_are_paid_for_once(tmp_path: Path) -> None:
    plan = opted()
    with jobs_in(tmp_path, summing_site()) as (jobs, site, ledger):
        reply = ask(jobs, asking(plan))
        assert isinstance(reply, MomentsReply)
        assert reply.n_units == 10
        alone = epsilon([(2.0, 1.0, 1)], 1e-5)
        assert alone <= (reply.epsilon or 0.0) < alone + 0.01
        ask(jobs, asking(plan))
        assert site.calls == 1 and spent(ledger.entries()) == [(2.0, 1.0, 1)]
        after = ask(jobs, train_task(plan))
        both = epsilon([(2.0, 1.0, 1), (1.0, 2 / 13, 2)], 1e-5)
        assert both <= after.epsilon < both + 0.01  # type: ignore[union-attr]
    with jobs_in(tmp_path, summing_site()) as (jobs, site, ledger):
        ask(jobs, asking(plan))
        assert site.calls == 0 and len(spent(ledger.entries())) == 2


def test_a_study_that_would_pass_the_budget_with_its_moments_is_refused(tmp_path: Path) -> None:
    plan = opted()
    rest = [(1.0, 2 / 13, 4), (noise_multiplier(plan.evaluation.epsilon, 1e-5), 1.0, 1)]
    without, whole = epsilon(rest, 1e-5), epsilon([(2.0, 1.0, 1), *rest], 1e-5)
    assert without < whole
    with jobs_in(tmp_path / "low", summing_site(), max_epsilon=(whole + without) / 2) as low:
        assert refusal(low[0], enrol_task(plan)) == "budget"
        assert refusal(low[0], asking(plan)) == "budget"
        assert low[1].calls == 0
    with jobs_in(tmp_path / "high", summing_site(), max_epsilon=whole * 1.001) as (jobs, _, _):
        assert not isinstance(ask(jobs, enrol_task(plan)), ErrorReply)
        assert isinstance(ask(jobs, asking(plan)), MomentsReply)
        assert refusal(jobs, asking(plan, fill=1.0)) == "budget"
        for number in (1, 2):
            assert not isinstance(ask(jobs, train_task(plan, round=number)), ErrorReply)


def test_a_ledger_that_forgot_a_debit_trains_nobody(tmp_path: Path) -> None:
    plan = opted()
    kept = tmp_path / "state" / "ledger.jsonl"
    with jobs_in(tmp_path, summing_site()) as (jobs, _, _):
        ask(jobs, enrol_task(plan))
        before = kept.read_bytes()
        ask(jobs, asking(plan))
    after = kept.read_bytes()
    kept.write_bytes(before)
    with jobs_in(tmp_path, summing_site()) as (jobs, site, _):
        assert refusal(jobs, asking(plan)) == "ledger"
        assert refusal(jobs, train_task(plan)) == "ledger"
        assert site.calls == 0
    kept.write_bytes(after)
    with jobs_in(tmp_path, summing_site()) as (jobs, _, _):
        assert not isinstance(ask(jobs, train_task(plan)), ErrorReply)


def test_nothing_but_moments_leaves_as_moments(tmp_path: Path) -> None:
    plan = opted()
    mean = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    for odd in (mean, np.full((2, *SHAPE), np.nan, np.float32), np.ones((2, 3, 3), np.float32)):
        site = summing_site()
        site.result = lambda task, odd=odd: MomentsReply(odd, 13)  # type: ignore[misc]
        with jobs_in(tmp_path / str(odd.sum()), site) as (jobs, _, ledger):
            assert refusal(jobs, asking(plan)) == "failed"
            assert len(spent(ledger.entries())) == 1


def test_without_the_plans_word_or_the_sites_there_are_no_moments(tmp_path: Path) -> None:
    plain = make_plan(privacy=PRIVACY)
    with jobs_in(tmp_path / "a", summing_site()) as (jobs, site, _):
        assert refusal(jobs, asking(plain)) == "bad-task"
        assert refusal(jobs, dataclasses.replace(asking(opted()), mean=np.zeros(3))) == "bad-task"
        assert site.calls == 0
    with jobs_in(tmp_path / "b", summing_site(), jobs=("enrol", "train")) as (jobs, _, _):
        assert refusal(jobs, asking(opted())) == "policy"
    with jobs_in(tmp_path / "c", FakeSite(make_table(4))) as (jobs, _, _):
        assert refusal(jobs, asking(opted())) == "cohort"


def test_an_odd_reply_is_no_moments() -> None:
    good = MomentsReply(np.zeros((2, 4, 4), np.float32), 5, 1.0).to_message()
    assert moments_from(good).n_units == 5
    for header in ({"n_units": 5, "epsilon": -1.0}, {"n_units": 5, "epsilon": float("nan")}):
        with pytest.raises(ValueError):
            moments_from(dataclasses.replace(good, header=header))
    with pytest.raises((ValueError, KeyError)):
        moments_from(
            dataclasses.replace(good, arrays={**good.arrays, "mean": good.arrays["total"]})
        )


def private_study(**moments: Any) -> Plan:
    table = small_table(rounds=1, local_steps=1)
    table["privacy"] = {"noise_multiplier": 1.0, "rate": 2 / 13, "lot": 4}
    table["moments"] = {"noise_multiplier": 1.0, "clip": 10.0, **moments}
    return parse_plan(tomli_w.dumps(table))


def test_a_real_site_answers_with_noise_that_is_never_the_same(tmp_path: Path) -> None:
    plan = private_study()
    site = Site(open_dataset(site_uri("a")), "a", tmp_path)
    task = MomentsTask(plan.text, FAR, np.zeros((2, 32, 32), np.float32))
    first, second = (site.run(plan, task, lambda: False) for _ in range(2))
    assert isinstance(first, MomentsReply) and isinstance(second, MomentsReply)
    assert not np.array_equal(first.total, second.total)
    assert first.epsilon == pytest.approx(epsilon([(1.0, 1.0, 1)], 1e-5))
    with pytest.raises(Refused):
        site.run(plan, task, lambda: True)


def test_a_study_begins_with_the_sites_variance_and_says_what_it_cost(tmp_path: Path) -> None:
    asked: list[str] = []

    def count(task: SiteTask, node: str, reply: SiteReply) -> Any:
        asked.append(type(task).__name__)
        yield node, reply

    plan = private_study(noise_multiplier=1e-3, clip=20.0)
    study(plan, Wrapped(local_sites(tmp_path), count), tmp_path).run()
    assert asked[:4] == ["EnrolTask"] * 2 + ["MomentsTask"] * 2
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "round-00000.safetensors")
    public = public_moments(open_dataset(AUDIT_URI).images(range(32)))
    exact = torch.from_numpy(exact_moments(public.mean))
    loud = exact > 0.05
    torch.testing.assert_close(
        torch.from_numpy(saved.variance)[loud], exact[loud], rtol=0.2, atol=0
    )
    assert not np.allclose(public.variance[loud], exact[loud], rtol=0.2)
    assert set(saved.history["epsilons"]) == {"a", "b"}
    privacy = json.loads((tmp_path / "run" / "results.json").read_text())["meta"]["privacy"]
    assert privacy["moments"] == {"noise_multiplier": 1e-3, "clip": 20.0}
    assert privacy["epsilon"] == max(privacy["epsilon_by_site"].values())
    assert privacy["epsilon"] >= max(saved.history["epsilons"].values())


def exact_moments(mean: torch.Tensor) -> np.ndarray:
    """What both sites' training patients have about ``mean``, with no noise."""
    found = []
    for name in "ab":
        data = open_dataset(site_uri(name))
        for patient in np.unique(data.table.patients[data.table.split == "train"]):
            rows = np.flatnonzero(data.table.patients == patient)
            parts = torch.view_as_real(fft2c(data.images(rows).double())).movedim(-1, 1)
            found.append((parts - mean).square().mean(0).numpy())
    return np.mean(found, axis=0).astype(np.float32)
