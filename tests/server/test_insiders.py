"""Adversaries of three strengths: what trains each, and that nobody's own site trains insiders."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tomli_w
import torch

from fl_client.commands.plan_words import in_words
from fl_client.jobs import Jobs
from fl_client.jobs.adapt import checked_attack
from fl_client.memory.ledger import Ledger
from fl_client.settings import Policy
from fl_server.sites.grid import GridSites
from fl_server.sites.local import LocalSites
from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.data import open_dataset
from infomri_core.messages import (
    AdaptReply,
    AdaptTask,
    EvaluateTask,
    SiteReply,
    SiteTask,
    reply_from,
    task_from,
)
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row
from infomri_core.sampling import UniformPolicy
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError, Refused
from tests.support.inprocess import InProcessGrid
from tests.support.small import local_sites, site_uri, small_table, study
from tests.support.vault_fakes import departures, make_settings

NETWORK = {"network.weight": np.ones((2, 3), np.float32)}


def plan_of(*adversaries: str, insider_rounds: int = 1, **tables: dict[str, object]) -> Plan:
    table = small_table(rounds=1, quorum=3 if "aggregation" in tables else 1)
    table["evaluation"] |= {
        "attacks": ["lmmse", "unet"],
        "adversaries": ["public", *adversaries],
        "adversary_steps": 2,
        "insider_rounds": insider_rounds,
        "noise": "same-site" not in adversaries,
    }
    return parse_plan(tomli_w.dumps(table | tables))


class Overheard(LocalSites):
    """Keeps what each site was asked and answered."""

    def __init__(self, sites: LocalSites) -> None:
        super().__init__(list(sites._sites.values()))
        self.heard: list[tuple[str, SiteTask, SiteReply]] = []

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        for node, reply in super().ask_each(tasks):
            self.heard.append((node, tasks[node], reply))
            yield node, reply


class Audited(NamedTuple):
    """A study of two sites with all adversaries: its plan, rows, folder, and what was said."""

    plan: Plan
    rows: list[Row]
    folder: Path
    sites: Overheard


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder, plan = tmp_path_factory.mktemp("insiders"), plan_of("insider", "same-site")
    sites = Overheard(local_sites(folder, ("a", "b")))
    return Audited(plan, study(plan, sites, folder).run(), folder, sites)


def test_a_site_faces_what_the_others_trained_and_never_what_it_trained_itself(
    audited: Audited,
) -> None:
    sites = audited.sites
    trained = {n: r.networks for n, _, r in sites.heard if isinstance(r, AdaptReply)}
    faced = {
        n: t.attacks["unet@insider"] for n, t, _ in sites.heard if isinstance(t, EvaluateTask)
    }
    assert set(trained) == set(faced) == {"a", "b"}
    for node, other in (("a", "b"), ("b", "a")):
        for name, array in trained[other]["all"].items():
            # The mean is in fixed point, steps of 2^-24 or finer.
            np.testing.assert_allclose(faced[node][name], array, atol=1e-7)
    differ = [
        not np.array_equal(trained["a"]["all"][name], array)
        for name, array in trained["b"]["all"].items()
    ]
    assert any(differ), "two sites have different images"


def test_of_three_sites_each_faces_the_mean_of_the_two_others_over_rounds(tmp_path: Path) -> None:
    sites = Overheard(local_sites(tmp_path, ("a", "b", "c")))
    study(plan_of("insider", insider_rounds=2), sites, tmp_path).run()
    last = {
        n: r
        for n, t, r in sites.heard
        if isinstance(t, AdaptTask) and t.round == 2 and isinstance(r, AdaptReply)
    }
    assert set(last["a"].networks) == {"b", "c"}
    faced = next(t for n, t, _ in sites.heard if isinstance(t, EvaluateTask) and n == "a").attacks[
        "unet@insider"
    ]
    n = {node: reply.n_samples for node, reply in last.items()}
    for name in last["b"].networks["a"]:
        parts = [n[k] * last[k].networks["a"][name].astype(np.float64) for k in ("b", "c")]
        np.testing.assert_allclose(
            faced[name], sum(parts) / (n["b"] + n["c"]), rtol=1e-5, atol=1e-7
        )


def test_every_strength_has_its_figures_and_the_strongest_counts(audited: Audited) -> None:
    names = {"lmmse", "unet", "unet@insider", "unet@same-site", "lmmse@same-site"}
    for row in audited.rows:
        assert set(row.psnr) == names
        assert row.psnr_worst == max(row.psnr.values())
        assert set(row.legibility) == {*names, "full image"}


def test_insiders_train_through_courier_vault_and_gate(tmp_path: Path) -> None:
    plan = plan_of("insider", "same-site")
    with contextlib.ExitStack() as open_ones:
        vaults = {}
        for number, name in enumerate(("a", "b"), start=1):
            made = make_settings(tmp_path / name, min_cohort=1, round_to=1)
            made = replace(made, site=replace(made.site, name=name))
            ledger = Ledger.open(made.vault.state / "ledger.jsonl")
            open_ones.callback(ledger.close)
            data = open_dataset(site_uri(name))
            site = Site(data, name, made.vault.state / "optimizer", secret="ab" * 32)
            vaults[number] = Jobs(made, site, data.table, ledger).handle
        rows = study(plan, GridSites(InProcessGrid(vaults)), tmp_path).run()
        left = [(e.job, e.kind) for e in departures(ledger)]
    assert left == [
        *(("enrol", "card"), ("train", "trained")),
        *(("adapt", "adapted"), ("evaluate", "evaluated")),
    ]
    assert all({"unet@insider", "lmmse@same-site"} <= set(row.psnr) for row in rows)


def test_going_on_never_ends_worse_than_it_began() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 16, 16, generator=generator)
    attack = attacks.build("unet", (16, 16), n_steps=6, width=8)
    assert isinstance(attack, LearnedAttack)
    given = (UniformPolicy((16, 16)), [0.3], 0.05)
    attack.fit(AuditSet.of(images[:12], *given, generator))
    attack.adapt(AuditSet.of(images[12:], *given, generator))
    psnr = [entry.validation_psnr for entry in attack.history]
    assert max(psnr) >= psnr[0] and attack.history[0].step == 0


def test_messages_of_insiders_survive_the_wire() -> None:
    task = AdaptTask("plan", 1, 9.0, {"arm": np.ones(3, np.float32)}, NETWORK, {"all": NETWORK})
    again = task_from(task.to_message())
    assert isinstance(again, AdaptTask) and again.round == 1 and set(again.networks) == {"all"}
    reply = reply_from(AdaptReply(5, {"all": NETWORK}).to_message())
    assert isinstance(reply, AdaptReply) and reply.n_samples == 5
    np.testing.assert_array_equal(
        reply.networks["all"]["network.weight"], NETWORK["network.weight"]
    )


@pytest.mark.parametrize(
    "networks",
    [
        {},
        {"other": NETWORK},
        {"all": {"network.weight": np.ones((3, 2), np.float32)}},
        {"all": {"network.weight": np.ones((2, 3), np.float64)}},
        {"all": {"network.weight": np.full((2, 3), np.nan, np.float32)}},
        {"all": {**NETWORK, "image": np.ones((8, 8), np.float32)}},
    ],
)
def test_only_the_network_that_came_leaves(networks: dict[str, dict[str, np.ndarray]]) -> None:
    task = AdaptTask("plan", 1, 9.0, {}, {}, {"all": NETWORK})
    assert checked_attack(AdaptReply(23, {"all": NETWORK}), task, Policy()).n_samples == 20
    with pytest.raises(Refused, match="held the result back"):
        checked_attack(AdaptReply(23, networks), task, Policy())


def test_too_few_samples_stay() -> None:
    task = AdaptTask("plan", 1, 9.0, {}, {}, {"all": NETWORK})
    with pytest.raises(Refused, match="too few"):
        checked_attack(replace(AdaptReply(4, {"all": NETWORK})), task, Policy())


@pytest.mark.parametrize(
    ("adversaries", "tables", "words"),
    [
        (("insider",), {"aggregation": {"secure": True}}, "secure aggregation"),
        (
            ("insider",),
            {"privacy": {"noise_multiplier": 1.0, "rate": 0.25}},
            "outside epsilon",
        ),
        (("outsider",), {}, "public, and others"),
        (("insider", "insider"), {}, "public, and others"),
        (("same-site",), {"evaluation": {"adversaries": ["public", "same-site"]}}, "no same-site"),
    ],
)
def test_adversaries_that_cannot_be_are_refused(
    adversaries: tuple[str, ...], tables: dict[str, dict[str, object]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        plan_of(*adversaries, **tables)


def test_the_report_and_the_site_say_who_trained_what(audited: Audited, tmp_path: Path) -> None:
    report = (audited.folder / "run" / "privacy-report.html").read_text("utf-8")
    assert "Three strengths of adversary" in report and "never by the one it attacks" in report
    words = "\n".join(in_words(audited.plan, make_settings(tmp_path)))
    assert "the attack unet, trained here for 2 steps" in words
    assert "lmmse, unet get when trained on this site's patients: means only" in words
