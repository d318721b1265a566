"""The plan refuses what cannot work, and says what was expected."""

from typing import Any

import pytest
import tomli_w

from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, without_noise
from infomri_core.system.errors import InputError


def table() -> dict[str, Any]:
    return {
        "study": {"name": "knees", "seed": 3},
        "task": {"labels": ["tear", "oedema"], "shape": [32, 32]},
        "measurement": {"ratio_range": [0.02, 0.2], "accelerations": [8.0, 32.0]},
        "arms": [
            {"sampler": "infomri", "suppression": "marginal", "beta": 1e-4},
            {"sampler": "uniform"},
        ],
    }


def plan(changes: dict[str, Any]) -> Plan:
    content = table()
    for dotted, value in changes.items():
        section, _, key = dotted.partition(".")
        if key:
            content.setdefault(section, {})[key] = value
        else:
            content[section] = value
    return parse_plan(tomli_w.dumps(content))


def test_a_plan_is_its_text() -> None:
    first, second = plan({}), plan({"study.seed": 4})
    assert first.digest == parse_plan(first.text).digest
    assert first.digest != second.digest


def test_a_plan_with_changes_keeps_its_identity_and_no_key_sets_it() -> None:
    first = plan({})
    assert without_noise(first).digest == first.digest
    with pytest.raises(InputError, match="only known keys"):
        parse_plan('text = "another"\n' + first.text)


def test_a_key_that_old_plans_have_under_every_arm_is_passed_over_and_no_other() -> None:
    made = plan({"arms": [{"sampler": "uniform", "exponent": 4.0}]})
    assert made.arms[0].name == "uniform-s0"
    with pytest.raises(InputError, match="did you mean 'exponent'"):
        plan({"arms": [{"sampler": "variable-density", "exponant": 4.0}]})


def test_defaults_are_filled_in() -> None:
    made = plan({})
    assert made.training.rounds >= 1
    assert made.arms[1].beta == 0.0
    assert made.arm("infomri-marginal-b0.0001-s0") is made.arms[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study.nmae": "x"}, "did you mean 'name'"),
        ({"trainning": {}}, "did you mean 'training'"),
        ({"study.name": "../etc"}, "letters"),
        ({"arms": [{"sampler": "infomri", "suppression": "marginal", "beta": -1.0}]}, "beta >= 0"),
        ({"arms": [{"sampler": "uniform", "beta": "-inf"}]}, "no term that asks for images"),
        ({"arms": [{"sampler": "uniform", "beta": "inf"}]}, "of type float"),
        ({"measurement.noise_std": "-inf"}, "0 < noise_std"),
        ({"arms": [{"sampler": "uniform", "beta": 1.0}]}, "beta > 0 only with"),
        ({"arms": [{"sampler": "infomro"}]}, "infomri | uniform"),
        ({"arms": []}, "1 .. 64 arms"),
        ({"arms": [{"sampler": "uniform"}, {"sampler": "uniform"}]}, "no two arms alike"),
        ({"measurement.accelerations": [100.0]}, "between 5 and 50"),
        ({"measurement.ratio_range": [0.0, 0.5]}, "0 < low"),
        ({"measurement.noise_std": -0.1}, "noise_std"),
        ({"training.rounds": 0}, "rounds"),
        ({"training.rounds": 2.5}, "of type int"),
        ({"training.quorum": True}, "of type int"),
        ({"task.labels": []}, "at least one label"),
        ({"task.labels": ["a"], "task.exclusive": True}, "two or more"),
        ({"evaluation.attacks": ["telepathy"]}, "lmmse"),
        ({"evaluation.attacks": ["lmmse", "ensemble"]}, "two others"),
        ({"evaluation.position_band": [0.8, 0.3]}, "low < high"),
        ({"release": {"arm": "nobody", "acceleration": 16.0}}, "[release] arm"),
        ({"release": {"arm": "uniform-s0", "acceleration": 3.0}}, "[release] acceleration"),
    ],
)
def test_bad_plans_are_refused_with_what_was_expected(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match="expected") as refusal:
        plan(changes)
    assert words in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_of_a_plan_may_be_infinite_or_undefined(value: float) -> None:
    with pytest.raises(InputError):
        plan({"measurement.noise_std": value})
    with pytest.raises(InputError):
        plan({"training.deadline_seconds": value})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("ratio_range = [0.0035, 0.08]", (16.0, 32.0, 64.0, 128.0, 256.0)),
        ("ratio_range = [0.0625, 0.125]", (8.0, 16.0)),
        ("ratio_range = [0.02, 0.16]\naccelerations = [32.0]", (32.0,)),
    ],
)
def test_every_octave_that_the_ratios_allow_is_scored_unless_the_plan_says_where(
    written: str, expected: tuple[float, ...]
) -> None:
    text = 'study.name = "a"\ntask = { labels = ["a"], shape = [32, 32] }\n'
    text += f'[[arms]]\nsampler = "uniform"\n[measurement]\n{written}\n'
    assert parse_plan(text).measurement.accelerations == expected


def test_a_range_without_an_octave_needs_accelerations() -> None:
    text = 'study.name = "a"\ntask = { labels = ["a"], shape = [32, 32] }\n'
    text += '[[arms]]\nsampler = "uniform"\n[measurement]\nratio_range = [0.3, 0.8]\n'
    with pytest.raises(InputError, match="accelerations: expected one or more"):
        parse_plan(text)
