"""Laws of splits, roles and hospitals: patients are never divided."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.data.base import SliceTable
from infomri_core.data.split import audit_patients, check_split, select, split_patients
from infomri_core.data.uri import Selection
from infomri_core.system.errors import InputError


def make_table(
    n_patients: int, n_slices: int = 3, hospitals: tuple[str, ...] = ("H1",)
) -> SliceTable:
    number = np.repeat(np.arange(n_patients), n_slices)
    patients = np.array([f"p{i}" for i in number])
    hospital = np.array([hospitals[i % len(hospitals)] for i in number])
    return SliceTable(
        patients=patients,
        labels=np.zeros((len(number), 1), dtype=np.uint8),
        label_names=("positive",),
        exclusive=False,
        split=split_patients(patients, groups=hospital),
        hospital=hospital,
        position=np.full(len(number), np.nan),
    )


def patients_of(table: SliceTable, selection: Selection) -> set[str]:
    chosen, rows = select(table, selection, "data")
    return set(chosen.patients[rows].tolist())


@given(st.integers(2, 60))
def test_every_slice_of_a_patient_is_in_one_split(n_patients: int) -> None:
    table = make_table(n_patients)
    check_split(table.patients, table.split, "data")
    n_val = len(np.unique(table.patients[table.split == "val"]))
    assert n_val == max(1, round(0.2 * n_patients))


def test_the_split_does_not_depend_on_the_order_of_slices() -> None:
    table = make_table(30)
    order = np.random.default_rng(0).permutation(len(table))
    assert (split_patients(table.patients[order]) == table.split[order]).all()


@given(st.integers(3, 60), st.integers(1, 4))
def test_roles_divide_the_patients_and_leave_validation_whole(n: int, n_hospitals: int) -> None:
    table = make_table(n)
    dealt = {"hospitals": n_hospitals}
    audit = patients_of(table, Selection(role="audit", **dealt))
    site = patients_of(table, Selection(role="site", **dealt)) if n > 3 else audit
    everyone = set(table.patients.tolist())
    if n > 3:
        assert audit | site == everyone and not audit & site
    validation = set(table.patients[table.split == "val"].tolist())
    assert not audit & validation
    assert len(audit) == max(1, round(0.1 * (len(everyone) - len(validation))))


def test_roles_are_the_same_however_many_hospitals_share_the_patients() -> None:
    table = make_table(50)
    audit = patients_of(table, Selection(role="audit"))
    parts = [
        patients_of(table, Selection(role="site", hospitals=3, hospital=(f"H{i}",)))
        for i in (1, 2, 3)
    ]
    assert not any(part & audit for part in parts)
    assert set.union(*parts, audit) == set(table.patients.tolist())
    assert sum(map(len, parts)) + len(audit) == 50


def test_each_stored_hospital_gives_its_share_to_the_audit() -> None:
    table = make_table(100, hospitals=("north", "south"))
    rows = audit_patients(table, 0.25)
    for name in ("north", "south"):
        assert len(np.unique(table.patients[rows & (table.hospital == name)])) == 10


def test_a_larger_audit_fraction_contains_a_smaller() -> None:
    table = make_table(80)
    assert (audit_patients(table, 0.1) <= audit_patients(table, 0.3)).all()


def test_a_patient_in_two_splits_is_refused() -> None:
    patients, split = np.array(["a", "a", "b"]), np.array(["train", "val", "val"])
    with pytest.raises(InputError, match="a patient in 2 splits"):
        check_split(patients, split, "data")


def test_an_unknown_split_name_is_refused() -> None:
    with pytest.raises(InputError, match="expected train, val or test, got another word"):
        check_split(np.array(["a"]), np.array(["dev"]), "data")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(hospital=("nort",)), "did you mean 'north'.* the hospitals are north, south"),
        (Selection(split="test"), "at least one slice, got none"),
        (Selection(split="vl"), "did you mean 'val'"),
        (Selection(role="audits"), "did you mean 'audit'"),
        (Selection(audit_fraction=1.5), r"a number in \(0, 1\)"),
        (Selection(hospitals=0), "at least 1"),
        (Selection(hospitals=2), "2 stored hospitals"),
    ],
)
def test_impossible_selections_are_refused(selection: Selection, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(make_table(20, hospitals=("north", "south")), selection, "data")


def test_a_site_with_one_patient_is_refused() -> None:
    with pytest.raises(InputError, match="at least two patients"):
        select(make_table(1), Selection(), "data")
