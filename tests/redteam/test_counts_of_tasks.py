"""Frozen counts asked for by a study of another task, which counts other things beside them."""

from pathlib import Path

import pytest

from infomri_core.messages import DatasetCard, EnrolTask
from infomri_core.plan.plan import Plan
from tests.client.test_release import hospital
from tests.client.test_release import plan_of as classification
from tests.support.small import site_uri
from tests.support.vault_fakes import FAR
from tests.tasks.test_regression import plan_of as regression


def card(folder: Path, plan: Plan, n_patients: int) -> DatasetCard:
    uri = site_uri("a").replace("patients=20", f"patients={n_patients}")
    with hospital(folder, uri=uri) as there:
        found = there.ask(EnrolTask(plan.text, FAR))
    assert isinstance(found, DatasetCard), found
    return found


@pytest.mark.parametrize("first", [classification, regression])
def test_a_study_of_another_task_sees_no_patient_who_came_since(
    tmp_path: Path, first: object
) -> None:
    before, after = classification("one"), regression(study={"name": "two", "seed": 1})
    if first is regression:
        before, after = after, before
    old, new = card(tmp_path, before, 20), card(tmp_path, after, 60)
    assert (new.n_patients, new.n_slices) == (old.n_patients, old.n_slices)
    third = classification("three")
    last, again = card(tmp_path, third, 90), old if first is classification else new
    assert last == again
