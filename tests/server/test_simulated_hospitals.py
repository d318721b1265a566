"""The data of a simulation, dealt to its hospitals: all patients, each at one of them."""

from pathlib import Path

import pytest

from fl_server.simulation.hospitals import divide
from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError
from tests.product.test_demo import an_archive
from tests.server.test_simulate import tiny_plan
from tests.support.small import small_plan

PHANTOMS = "phantom:?patients=30&slices=2"


def test_phantom_hospitals_are_all_different_and_fit_the_plan() -> None:
    plan = small_plan()
    made = divide(plan, PHANTOMS, 20, 5)
    assert len(set(made.sites.values())) == 20
    tables = [open_dataset(uri).table for uri in made.sites.values()]
    audit = open_dataset(made.audit)
    assert audit.shape == plan.task.shape
    groups = [set(table.patients.tolist()) for table in (*tables, audit.table)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert len({tuple(table.labels.sum(0).tolist()) for table in tables}) > 5
    assert made == divide(plan, PHANTOMS, 20, 5)


def test_an_archive_is_divided_patient_by_patient_and_none_is_lost(tmp_path: Path) -> None:
    data = an_archive(tmp_path / "a.h5")
    labels = list(open_dataset(data).table.label_names)
    plan = tiny_plan(task={"labels": labels, "shape": [32, 32]})
    made = divide(plan, data, 2, 2)
    assert set(made.sites) == {"H0", "H1"}
    uris = (*made.sites.values(), made.audit)
    groups = [set(open_dataset(uri).table.patients.tolist()) for uri in uris]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 60
    with pytest.raises(InputError, match=r"--sites: expected 2: .*got 5"):
        divide(plan, data, 5, 2)
