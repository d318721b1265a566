"""Arms of every suppression train at a site, with and without differential privacy."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w

from fl_client.jobs.train import check_factors
from fl_server.study.study import Study
from infomri_core.data import open_dataset
from infomri_core.messages import TrainTask, task_from
from infomri_core.messages.wire import decode, encode
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError, Refused
from tests.support.small import SilentTracker, local_sites, settings, site_uri, small_table

ARMS = [{"sampler": "infomri", "suppression": kind, "beta": 1e-3} for kind in ("joint", "attack")]
PRIVACY = {"noise_multiplier": 1.0, "rate": 0.3, "lot": 4}


def plan_of(arms: list[dict[str, object]], **tables: object) -> Plan:
    return parse_plan(tomli_w.dumps({**small_table(), "arms": arms, **tables}))


def first_task(plan: Plan, directory: Path) -> TrainTask:
    """The task of round 1, as a study centre would send it."""
    centre = settings(directory)
    audit_set = open_dataset(centre.audit.data)
    tracker, sites = SilentTracker(), local_sites(directory)
    study = Study(plan, centre, sites, audit_set, directory, tracker, "cpu")  # type: ignore[arg-type]
    state = study._restore()
    again = study._restore()
    if state.factors is not None:
        assert again.factors is not None
        np.testing.assert_array_equal(state.factors, again.factors)
    sent = TrainTask(plan.text, 1, 0.0, state.variance, state.arms, None, state.factors)
    read = task_from(decode(encode(sent.to_message())))
    assert isinstance(read, TrainTask)
    return read


@pytest.mark.parametrize("private", [False, True], ids=["plain", "DP-SGD"])
def test_arms_train_and_their_figure_is_reported(tmp_path: Path, private: bool) -> None:
    plan = plan_of(ARMS, **({"privacy": {**PRIVACY, "losses": True}} if private else {}))
    task = first_task(plan, tmp_path)
    check_factors(task.factors, plan)
    site = Site(open_dataset(site_uri("a")), "a", tmp_path / "a")
    reply = site.train(plan, task, lambda: False)
    assert reply.dropped == () and set(reply.arms) == set(task.arms)
    figures = [list(terms.values())[-1] for terms in reply.losses.values()]
    assert len(set(figures)) == len(ARMS) and all(np.isfinite(figures))
    assert all((reply.arms[name] != task.arms[name]).any() for name in task.arms)


def test_a_vault_takes_factors_where_the_plan_needs_them_only(tmp_path: Path) -> None:
    plan, plain = plan_of(ARMS), plan_of([{"sampler": "uniform"}])
    factors = np.zeros((3, 32, 32), np.float32)
    check_factors(factors, plan)
    check_factors(None, plain)
    wrong = (None, factors[:, 1:], factors.astype(np.float64), np.full_like(factors, np.nan))
    for given in (*wrong, np.zeros((33, 32, 32), np.float32)):
        with pytest.raises(Refused, match="factors"):
            check_factors(given, plan)
    with pytest.raises(Refused, match="factors"):
        check_factors(factors, plain)


def test_whole_columns_are_for_kinds_whose_slope_is_known() -> None:
    columns = {**small_table()["measurement"], "constraint": "1d"}
    with pytest.raises(InputError, match="columns"):
        plan_of(ARMS[:1], measurement=columns)
    marginal = [replace_kind(ARMS[0])]
    assert plan_of(marginal, measurement=columns).constraint == "1d"


def replace_kind(arm: dict[str, object]) -> dict[str, object]:
    return {**arm, "suppression": "marginal"}
