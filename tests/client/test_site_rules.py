"""The site's rules about plans: the vault and ``plan show`` hold a plan against the same ones."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.must import Must
from fl_client.policy.rules import RULES, verdicts
from fl_client.settings import Policy, read_settings
from infomri_core.messages import DatasetCard, ErrorReply
from infomri_core.system.errors import InputError
from tests.client.test_site_commands import SITE, said
from tests.support.vault_fakes import PLAN, RELEASE_PLAN, ask, enrol_task, jobs_in, make_plan

PRIVATE = {"noise_multiplier": 2.0, "rate": 0.2, "lot": 2}
SECURE = {
    "aggregation": {"secure": True},
    "training": {"rounds": 2, "local_steps": 1, "quorum": 3},
}
BROKEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"secure_aggregation": True}, {}),
    ({"min_quorum": 2}, {}),
    ({"differential_privacy": True}, {}),
    ({"unit": "patient"}, {"privacy": PRIVATE | {"unit": "slice"}}),
    ({"unit": "slice"}, {}),
    ({"max_epsilon": 0.5}, {"privacy": PRIVATE}),
    ({"max_epsilon": 1e5}, {}),
    ({"max_delta": 1e-6}, {"privacy": PRIVATE}),
    ({"max_delta": 0.5}, {}),
    ({"max_attacks": 1}, {"evaluation": {"attacks": ["lmmse", "unet"], "replicates": 20}}),
    ({"no_losses": True}, {"privacy": PRIVATE | {"losses": True}}),
    ({"no_losses": True}, {}),
    (
        {"no_moments": True},
        {"privacy": PRIVATE, "moments": {"noise_multiplier": 5.0, "clip": 1.0}},
    ),
    ({"no_release": True}, {"release": {"arm": "uniform-s0", "acceleration": 4.0}}),
    (
        {"public_attacks": True},
        {
            "evaluation": {
                "attacks": ["lmmse"],
                "adversaries": ["public", "same-site"],
                "noise": False,
            }
        },
    ),
]
KEPT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"min_quorum": 1, "max_attacks": 1}, {}),
    ({"no_moments": True, "no_release": True, "public_attacks": True}, {}),
    (
        {
            "differential_privacy": True,
            "unit": "patient",
            "max_epsilon": 1e5,
            "max_delta": 1e-5,
            "no_losses": True,
        },
        {"privacy": PRIVATE},
    ),
    ({"unit": "slice"}, {"privacy": PRIVATE}),
]


@pytest.mark.parametrize(("must", "changes"), BROKEN)
def test_a_plan_that_breaks_a_demand_is_refused_by_its_name(
    tmp_path: Path, must: dict[str, Any], changes: dict[str, Any]
) -> None:
    (name,) = must
    with jobs_in(tmp_path, must=Must(**must)) as (jobs, site, _):
        reply = ask(jobs, enrol_task(make_plan(**changes)))
        assert isinstance(reply, ErrorReply) and reply.code == "policy"
        assert f"rule must.{name} of this site" in reply.sentence
        assert site.calls == 0


@pytest.mark.parametrize(("must", "changes"), KEPT)
def test_a_plan_that_keeps_every_demand_runs(
    tmp_path: Path, must: dict[str, Any], changes: dict[str, Any]
) -> None:
    with jobs_in(tmp_path, must=Must(**must)) as (jobs, _, _):
        assert isinstance(ask(jobs, enrol_task(make_plan(**changes))), DatasetCard)


def test_a_secure_plan_over_enough_sites_keeps_what_a_plain_one_breaks() -> None:
    policy = Policy(must=Must(secure_aggregation=True, min_quorum=3))
    asked = {v.name: v.holds for v in verdicts(make_plan(**SECURE), policy)}
    assert asked["must.secure_aggregation"] and asked["must.min_quorum"]


def test_every_demand_and_every_limit_has_its_rule() -> None:
    named = {rule.name for rule in RULES}
    assert {f"must.{f.name}" for f in dataclasses.fields(Must)} <= named
    assert {"max_rounds", "max_local_steps", "max_arms", "max_width"} <= named


def test_epsilon_follows_from_the_plan_and_is_held_against_the_rule() -> None:
    plan, policy = make_plan(privacy=PRIVATE), Policy(must=Must(max_epsilon=0.5))
    (verdict,) = (v for v in verdicts(plan, policy) if v.name == "must.max_epsilon")
    assert verdict.holds is False and verdict.plan in verdict.sentence


def test_plan_show_holds_a_plan_against_every_rule_and_no_broken_one_is_approved(
    tmp_path: Path,
) -> None:
    rules = "max_arms = 1\n[policy.must]\nno_release = true\nsecure_aggregation = true\n"
    (tmp_path / "site.toml").write_text(SITE + rules)
    (tmp_path / "plan.toml").write_text(RELEASE_PLAN.text)
    plan = str(tmp_path / "plan.toml")
    lines = said(tmp_path, "plan", "show", plan).splitlines()
    told = {
        line.split()[1]: line.split()[0] for line in lines if line.startswith(("  ok", "  REF"))
    }
    assert told["max_arms"] == told["must.no_release"] == "REFUSED"
    assert told["must.secure_aggregation"] == "REFUSED" and told["max_rounds"] == "ok"
    line = ["plan", "approve", plan, "--config", str(tmp_path / "site.toml")]
    with pytest.raises(InputError, match=r"rule max_arms.*got 2 arms"):
        CliRunner().invoke(app, line, catch_exceptions=False)
    assert not (tmp_path / "approved.txt").exists()


def test_a_plan_over_the_budget_of_all_studies_is_not_approved(tmp_path: Path) -> None:
    data = SITE.replace("?seed=1", "?patients=20&slices=2&size=32")
    (tmp_path / "site.toml").write_text(data + "max_epsilon = 0.5\n")
    (tmp_path / "plan.toml").write_text(make_plan(privacy=PRIVATE).text)
    plan = str(tmp_path / "plan.toml")
    assert "REFUSED  max_epsilon" in said(tmp_path, "plan", "show", plan)
    with pytest.raises(InputError, match="rule max_epsilon"):
        said(tmp_path, "plan", "approve", plan)


@pytest.mark.parametrize(
    "line",
    ["max_epsilon = 0.0", "max_delta = 1.0", "min_quorum = 0", 'unit = "ward"', "sure = true"],
)
def test_a_demand_that_cannot_be_meant_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "site.toml").write_text(f"{SITE}[policy.must]\n{line}\n")
    with pytest.raises(InputError, match=line.split()[0]):
        read_settings(tmp_path / "site.toml")


def test_the_plan_of_the_tests_is_one_that_a_default_site_takes() -> None:
    assert all(verdict.holds for verdict in verdicts(PLAN, Policy()))
