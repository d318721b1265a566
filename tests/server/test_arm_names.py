"""An arm has one name for people: unique in its study, and understood wherever one is typed."""

from hypothesis import given
from hypothesis import strategies as st

from infomri_core.plan.plan import Arm
from infomri_core.results.arm_names import display_names, technical_name
from infomri_core.sampling.samplers.variable_density import VariableDensity

_BETAS = st.sampled_from([0.0, 1e-5, 3e-5, 1e-3, 0.01, -1e-3, -1.0, 1.0, float("-inf")])
_ARMS = st.builds(
    lambda sampler, beta, seed: Arm(sampler, beta, "marginal" if beta > 0 else "none", seed),
    st.sampled_from(["infomri", "uniform", "variable-density"]),
    _BETAS,
    st.integers(0, 2),
)


def named(arms: list[Arm]) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms}


@given(st.lists(_ARMS, max_size=8))
def test_names_are_unique_and_each_is_understood(arms: list[Arm]) -> None:
    by_name = named(arms)
    shown = display_names(by_name)
    assert len(set(shown.values())) == len(by_name)
    for name, title in shown.items():
        for typed in (name, title, title.upper(), title.replace("β", "beta")):
            assert technical_name(typed, by_name) == name


def test_a_name_says_what_tells_the_arms_apart_and_no_more() -> None:
    arms = [
        Arm("infomri"),
        Arm("infomri", 3e-5, "marginal"),
        Arm("uniform"),
        Arm("uniform", seed=1),
        Arm("variable-density", options=VariableDensity(4.0)),
        Arm("variable-density", options=VariableDensity(8.0)),
    ]
    assert list(display_names(named(arms)).values()) == [
        "InfoMRI β=0",
        "InfoMRI β=3e-05",
        "uniform, seed 0",
        "uniform, seed 1",
        "variable-density-e4-s0",
        "variable-density-e8-s0",
    ]


def test_a_number_is_read_in_any_form_and_another_name_is_left() -> None:
    arms = named([Arm("infomri"), Arm("infomri", 3e-5, "marginal")])
    for typed in ("InfoMRI beta=3e-5", "infomri β = 0.00003", "infomri-marginal-b3e-05-s0"):
        assert technical_name(typed, arms) == "infomri-marginal-b3e-05-s0"
    assert technical_name("infomri", arms) == "infomri"
    assert technical_name("unifrom", arms) == "unifrom"
