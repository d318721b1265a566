"""Beta of any sign: what each asks for, who serves it, and what a site says of it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pytest
import tomli_w
import torch
from torch import Tensor

from fl_client.policy.rules import check_rules, verdicts
from fl_client.settings import Policy
from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import LossTerms
from infomri_core.dp.dp import PrivateGradients
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.results.arm_names import beta_label, technical_name
from infomri_core.results.frontier import Row, from_json, to_json
from infomri_core.results.metric_names import metrics_of
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.errors import InputError, Refused
from infomri_core.tasks.objective import IMAGE_ONLY
from infomri_core.tasks.registry import TASKS
from infomri_core.tasks.regression import Regression
from infomri_core.training.fit import beta_at
from tests.support.small import small_table

BETAS = (0.0, 1e-3, -0.5, IMAGE_ONLY)


@final
@dataclass(frozen=True)
class Both(Regression):  # type: ignore[misc]
    """A task with one term for its finding, and one that asks for an image."""

    kind: ClassVar[str] = "both"
    loss_terms: ClassVar[tuple[str, ...]] = ("mse", "nll")
    image_terms: ClassVar[tuple[str, ...]] = ("nll",)

    def losses(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {**super().losses(output, targets), "nll": (output - 3).square().mean(-1)}


@final
@dataclass(frozen=True)
class ImageOnly(Regression):  # type: ignore[misc]
    """A task that is its image."""

    kind: ClassVar[str] = "image"
    loss_terms: ClassVar[tuple[str, ...]] = ("nll",)
    image_terms: ClassVar[tuple[str, ...]] = ("nll",)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Both, ImageOnly):
        monkeypatch.setitem(TASKS, kind.kind, f"{__name__}:{kind.__name__}")


def plan_of(kind: str, *betas: float | str, **sections: Any) -> Plan:
    table = small_table()
    task = {"kind": kind, "outline": "oedema", "shape": table["task"]["shape"]}
    arms = [
        {"sampler": "infomri", "beta": b, "suppression": "marginal" if b in (1e-3,) else "none"}
        for b in betas
    ]
    return parse_plan(tomli_w.dumps({**table, "task": task, "arms": arms, **sections}))


def test_each_sign_weighs_the_terms_it_says() -> None:
    task = plan_of("both", 0.0).task
    losses = {"mse": torch.tensor(2.0), "nll": torch.tensor(10.0)}
    figure = torch.tensor(5.0)
    totals = [LossTerms(task, losses, figure).total(beta).item() for beta in BETAS]
    assert totals == pytest.approx([2.0, 2.005, 7.0, 10.0])


def test_a_term_that_is_not_asked_for_cannot_break_the_objective() -> None:
    task = plan_of("both", 0.0).task
    losses = {"mse": torch.tensor(2.0), "nll": torch.tensor(math.inf)}
    assert task.objective(losses, 0.0) == 2.0


@pytest.mark.parametrize(
    ("kind", "served", "refused", "words"),
    [
        ("regression", (0.0, 1e-3), (-0.5, "-inf"), "no term that asks for images"),
        ("both", (0.0, 1e-3, -0.5, "-inf"), (), ""),
        ("image", ("-inf",), (0.0, 1e-3, -0.5), "learns the image and nothing else"),
    ],
)
def test_a_task_serves_the_signs_it_has_terms_for(
    kind: str, served: tuple[Any, ...], refused: tuple[Any, ...], words: str
) -> None:
    assert len(plan_of(kind, *served).arms) == len(served)
    for beta in refused:
        with pytest.raises(InputError) as told:
            plan_of(kind, beta)
        assert words in str(told.value)


@pytest.mark.parametrize("beta", [-0.5, "-inf"])
def test_no_suppression_beside_an_arm_that_asks_for_images(beta: Any) -> None:
    table = small_table()
    task = {"kind": "both", "outline": "oedema", "shape": table["task"]["shape"]}
    arm = {"sampler": "infomri", "beta": beta, "suppression": "marginal"}
    with pytest.raises(InputError, match="that a suppression hides"):
        parse_plan(tomli_w.dumps({**table, "task": task, "arms": [arm]}))


def test_the_image_alone_has_no_warm_up() -> None:
    assert beta_at(IMAGE_ONLY, 0, 100, 0.25) == IMAGE_ONLY
    assert beta_at(-2.0, 0, 100, 0.25) == 0 and beta_at(-2.0, 99, 100, 0.25) == -2.0


@pytest.mark.parametrize("beta", BETAS)
def test_dp_sgd_follows_the_same_objective(beta: float) -> None:
    """With a clip beyond every norm and next to no noise, its gradient is that of the total."""
    privacy = {"noise_multiplier": 1e-6, "rate": 1.0, "lot": 4, "clip": 1e4}
    training = {"batch_size": 4, "rounds": 1, "local_steps": 1}
    plan = plan_of("both", beta, privacy=privacy, training=training)
    shape = plan.task.shape
    model = build_model(plan, plan.arms[0], torch.ones(2, *shape)).double()
    images, targets = torch.rand(4, *shape).double(), torch.rand(4, 1).double()
    penalty = build_suppression("none", torch.ones(2, *shape), None, 0.02)
    private = PrivateGradients(
        *(plan, penalty, list(np.arange(4)[:, None]), lambda rows: (images[rows], targets[rows])),
        SecretStream.public(0, "test"),
    )
    private(model, beta)
    found = [p.grad for p in model.network.parameters() if p.grad is not None]
    stream, rates = SecretStream.public(0, "test"), plan.measurement.ratio_range
    ratio = rates[0] + (rates[1] - rates[0]) * float(stream.uniform())
    twin = PrivateGradients(
        *(plan, penalty, list(np.arange(4)[:, None]), lambda r: (r, r)), stream
    )
    rows = twin.draw()
    masks = model.draw(ratio, len(rows), stream).detach()
    measured = model.measure(images[rows], masks, stream)
    losses = model.task.mean_losses(model.output(measured), targets[rows])
    expected = torch.autograd.grad(
        LossTerms(model.task, losses, torch.zeros(())).total(beta),
        list(model.network.parameters()),
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=0.02)


def test_names_files_and_metrics_keep_any_beta() -> None:
    plan = plan_of("both", *BETAS[:1], -0.5, "-inf")
    arms = {arm.name: arm for arm in plan.arms}
    assert list(arms) == ["infomri-s0", "infomri-b-0.5-s0", "infomri-b-inf-s0"]
    assert technical_name("InfoMRI beta = -INF", arms) == "infomri-b-inf-s0"
    assert technical_name("infomri β=-0.5", arms) == "infomri-b-0.5-s0"
    assert [beta_label(b) for b in (IMAGE_ONLY, -3e-4, 0.0)] == ["β=-inf", "β=-3e-4", "β=0"]
    row = Row("infomri-b-inf-s0", "infomri", IMAGE_ONLY, 0, 8.0)
    assert from_json(json.loads(json.dumps(to_json(row), allow_nan=False))) == row
    assert all(math.isfinite(value) for value in metrics_of(row).values())


def test_a_site_refuses_arms_that_ask_for_images_unless_it_says_otherwise() -> None:
    asking, other = plan_of("both", 0.0, "-inf"), plan_of("both", 0.0)
    with pytest.raises(Refused, match="infomri-b-inf-s0, trained to rebuild images"):
        check_rules(asking, Policy())
    check_rules(other, Policy())
    check_rules(asking, Policy(image_arms=True))
    (shown,) = (v for v in verdicts(other, Policy()) if v.name == "image_arms")
    assert shown.holds and shown.site == "no arm that asks for images"


def test_the_switch_stands_in_site_toml(tmp_path: Path) -> None:
    from fl_client.settings import read_settings
    from tests.client.test_site_commands import SITE

    path = tmp_path / "site.toml"
    path.write_text(SITE.replace("[policy]\n", "[policy]\nimage_arms = true\n"))
    assert read_settings(path).policy.image_arms
