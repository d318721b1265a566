"""Global momentum: a site begins a round with the step that the federation took in the last."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

from fl_server.central import of_one_site
from fl_server.study.evaluation.central import of_one_place
from fl_server.study.moments import public_moments
from fl_server.study.study import initial_state
from infomri_core.arms.build import load_model
from infomri_core.data import open_dataset
from infomri_core.fitting.loop import learning_rate_factor
from infomri_core.messages import SiteReply, SiteTask, TrainTask
from infomri_core.plan.alone import by_itself
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.arm_names import alone_name
from infomri_core.site.site import Site
from infomri_core.system.errors import InputError
from infomri_core.training.fit import load_optimizer, make_optimizer
from infomri_core.training.momentum import KEY, LARGEST, global_momentum
from infomri_core.training.optimizer_store import OptimizerStore
from tests.server.test_study import Wrapped, assert_same, final_weights
from tests.support.small import AUDIT_URI, local_sites, site_uri, small_table, study


def made(
    training: dict[str, Any], aggregation: dict[str, Any] | None = None, **sections: Any
) -> Plan:
    table = small_table(**training) | sections
    table["aggregation"] = aggregation or {}
    return parse_plan(tomli_w.dumps(table))


def trained(plan: Plan, folder: Path, to: int) -> list[dict[str, np.ndarray]]:
    """The weights of the arms before each round and after the last, of a federation of one."""
    state = initial_state(plan, public_moments(open_dataset(AUDIT_URI).images(range(16))).variance)
    site, arms = Site(open_dataset(site_uri("a")), "a", folder), dict(state.arms)
    seen = [arms]
    for number in range(1, to + 1):
        task = TrainTask(plan.text, number, 0.0, state.variance, arms)
        arms = dict(site.train(plan, task, lambda: False).arms)
        seen.append(arms)
    return seen


def test_adam_would_take_the_step_that_the_federation_took(tmp_path: Path) -> None:
    plan = made({"momentum": "global", "rounds": 4})
    name, n = plan.arms[0].name, plan.training.local_steps
    before = trained(plan, tmp_path, 2)[1][name]
    kept = OptimizerStore(tmp_path).load(plan.digest, name, 2)
    assert kept is not None
    np.testing.assert_array_equal(kept[KEY], before)
    model = load_model(plan, name, before)
    optimizer = make_optimizer(model, plan)
    rates = sum(learning_rate_factor(k, plan.total_steps) for k in range(n, 2 * n))
    parameters = [(p, g["base"]) for g in optimizer.param_groups for p in g["params"]]
    with torch.no_grad():
        for i, (parameter, base) in enumerate(parameters):
            parameter -= base * rates * (-0.3, 0.6, 7.0)[i % 3]
    begun = global_momentum(model, plan, kept, 2 * n)
    assert begun is not None
    load_optimizer(optimizer, begun)
    for i, (parameter, _) in enumerate(parameters):
        slot = optimizer.state[parameter]
        t = float(slot["step"])
        mean, square = slot["exp_avg"] / (1 - 0.9**t), slot["exp_avg_sq"] / (1 - 0.999**t)
        step = mean / (square.sqrt() + 1e-8)
        expected = torch.full_like(step, (-0.3, 0.6, LARGEST)[i % 3])
        torch.testing.assert_close(step, expected, rtol=0.01, atol=0.01)


def test_of_one_site_in_rounds_of_one_step_it_is_its_own_momentum(tmp_path: Path) -> None:
    own, all_of_one = (
        trained(made({"momentum": m, "rounds": 4, "local_steps": 1}), tmp_path / m, 4)
        for m in ("local", "global")
    )
    for name, start in own[0].items():
        way = np.abs(own[-1][name] - start).mean()
        apart = np.abs(own[-1][name] - all_of_one[-1][name]).mean()
        assert apart <= 0.05 * way


def test_a_study_resumes_with_the_very_same_weights(tmp_path: Path) -> None:
    plan, undisturbed, broken = made({"momentum": "global"}), tmp_path / "a", tmp_path / "b"
    study(plan, local_sites(undisturbed), undisturbed).train()

    def die_in_round_three(task: SiteTask, node: str, reply: SiteReply) -> Iterator[Any]:
        if isinstance(task, TrainTask) and task.round == 3 and node == "b":
            raise KeyboardInterrupt
        yield node, reply

    with pytest.raises(KeyboardInterrupt):
        study(plan, Wrapped(local_sites(broken), die_in_round_three), broken).train()
    study(plan, local_sites(broken), broken).train()
    assert_same(final_weights(undisturbed), final_weights(broken))


def test_it_serves_differential_privacy(tmp_path: Path) -> None:
    private = {"noise_multiplier": 1.0, "rate": 0.5, "lot": 4}
    plan = made({"momentum": "global"}, {"rate_scale": 2.0}, privacy=private)
    for flat in trained(plan, tmp_path, 2)[-1].values():
        assert np.isfinite(flat).all()


def test_rates_for_many_sites_are_not_those_of_weights_that_are_never_averaged() -> None:
    plan = made({"momentum": "global"}, {"rate_scale": 3.0})
    assert plan.learning_rates == pytest.approx((3e-3, 3e-2))
    one = by_itself(plan)
    assert one.learning_rates == pytest.approx((1e-3, 1e-2))
    assert one.training.momentum == "local" and one.digest == plan.digest
    for pooled in (of_one_site(plan), of_one_place(plan, plan.arms[0], 3)):
        assert pooled.learning_rates == one.learning_rates
        assert pooled.training.momentum == "local"


def test_a_site_alone_trains_as_if_there_were_no_others(tmp_path: Path) -> None:
    ends = []
    for aggregation in ({}, {"rate_scale": 3.0}):
        table = small_table(momentum="global" if aggregation else "local", rounds=2)
        table["aggregation"], table["arms"][0]["alone"] = aggregation, True
        plan = parse_plan(tomli_w.dumps(table))
        folder = tmp_path / f"{len(aggregation)}"
        trained(plan, folder, 2)
        kept = OptimizerStore(folder).load(
            plan.digest, f"{alone_name(plan.arms[0].name)}.weights", 2
        )
        ends.append(kept)
    assert ends[0] is not None and ends[1] is not None
    np.testing.assert_array_equal(ends[0]["weights"], ends[1]["weights"])


@pytest.mark.parametrize(
    ("training", "aggregation", "expected"),
    [
        ({"momentum": "theirs"}, {}, "local or global"),
        ({"momentum": "global"}, {"strategy": "fedadam"}, "local with fedadam"),
        ({}, {"rate_scale": 0.0}, "rate_scale"),
    ],
)
def test_what_cannot_be_served_is_refused(
    training: dict[str, Any], aggregation: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        made(training, aggregation)
