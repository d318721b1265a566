"""The plan's section on differential privacy."""

from typing import Any

import pytest

from infomri_core.system.errors import InputError
from tests.plan.test_plan import plan

PRIVACY = {"noise_multiplier": 1.1, "rate": 0.25, "lot": 8}


def test_without_the_section_there_is_no_privacy() -> None:
    assert plan({}).privacy is None
    made = plan({"privacy": PRIVACY}).privacy
    assert made is not None and (made.unit, made.losses) == ("patient", False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy": {"rate": 0.25, "lot": 8}}, "noise_multiplier"),
        ({"privacy": PRIVACY | {"noise_multiplier": 0.0}}, "0 < noise_multiplier"),
        ({"privacy": PRIVACY | {"noise_multiplier": -1.0}}, "0 < noise_multiplier"),
        ({"privacy": PRIVACY | {"clip": 0.0}}, "0 < clip"),
        ({"privacy": PRIVACY | {"delta": 0.5}}, "delta"),
        ({"privacy": PRIVACY | {"lot": 0}}, "1 .. 4096"),
        ({"privacy": {"noise_multiplier": 1.1, "lot": 8}}, "[privacy] rate"),
        ({"privacy": PRIVACY | {"rate": 1.5}}, "0 < rate <= 1"),
        ({"privacy": PRIVACY | {"unit": "hospital"}}, "patient or slice"),
        ({"privacy": PRIVACY, "model": {"norm": "batch"}}, "BatchNorm"),
    ],
)
def test_privacy_that_cannot_hold_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match="expected") as refusal:
        plan(changes)
    assert words in str(refusal.value)
