"""``--set``: a changed plan is another text, which everything takes as it takes any plan's."""

import tomllib

import pytest

from infomri_core.plan.changes import changed
from infomri_core.plan.reading import parse_plan, read_plan
from infomri_core.system.errors import InputError
from tests.support.trained_runs import PLAN

TEXT = PLAN.format(constraint="2d", exclusive="false")


def test_nothing_changed_is_the_same_text():
    assert changed(TEXT, [], "plan") is TEXT


def test_what_is_set_is_in_the_text_and_the_rest_stays(tmp_path):
    sets = ["training.rounds=8", "study.name = other", "arms.1.beta=1e-4", "privacy.rate=0.1"]
    new, old = tomllib.loads(changed(TEXT, sets, "plan")), tomllib.loads(TEXT)
    assert new["training"]["rounds"] == 8 and new["study"]["name"] == "other"
    assert new["arms"][1]["beta"] == 1e-4 and new["privacy"] == {"rate": 0.1}
    assert new["measurement"] == old["measurement"] and new["arms"][2:] == old["arms"][2:]
    (tmp_path / "plan.toml").write_text(TEXT)
    plan = read_plan(tmp_path / "plan.toml", sets[:2])
    assert (plan.training.rounds, plan.study.name) == (8, "other")
    assert plan.digest == parse_plan(plan.text).digest != parse_plan(TEXT).digest


@pytest.mark.parametrize(
    "change", ["rounds=8", "training.rounds", "arms.9.beta=1", "study.name.x=1", ".a=1"]
)
def test_what_names_no_key_is_refused_with_the_form_to_write(change):
    with pytest.raises(InputError, match=r"--set training\.rounds=8"):
        changed(TEXT, [change], "plan")


def test_what_the_plan_does_not_have_is_refused_as_in_a_file(tmp_path):
    (tmp_path / "plan.toml").write_text(TEXT)
    with pytest.raises(InputError, match="local_steps"):
        read_plan(tmp_path / "plan.toml", ["training.local_step=3"])
