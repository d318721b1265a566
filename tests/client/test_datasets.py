"""Several data sets at one site: a plan sees the one that its approval names, and no other."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fl_client.jobs import Jobs
from fl_client.memory.ledger import Ledger, read_ledger
from fl_client.settings import Data, SiteSettings, read_settings
from fl_client.sockets.status import PING
from fl_client.vault.datasets import DataSet, DataSets, check_disjoint
from fl_client.vault.process import opened
from infomri_core.data.base import SliceTable
from infomri_core.messages import DatasetCard, ErrorReply, SiteReply, SiteTask, reply_from, wire
from infomri_core.system.errors import InputError
from tests.client.test_site_commands import SITE, said
from tests.support.vault_fakes import (
    PLAN,
    FakeSite,
    encode,
    enrol_task,
    make_plan,
    make_settings,
    make_table,
    train_task,
)

OTHER = make_plan(study={"name": "other"})
SETS = '[datasets.knees]\nuri = "phantom:?seed=2"\n'


def renamed(table: SliceTable, prefix: str) -> SliceTable:
    return dataclasses.replace(table, patients=np.char.add(prefix, table.patients.astype(str)))


@contextlib.contextmanager
def site(folder: Path) -> Iterator[DataSets]:
    """A site of two data sets over fake sites: 20 patients, and 40 of 'knees'."""
    (folder / "site.toml").write_text(SITE + SETS)
    plain = make_settings(folder, approvals="listed", approved=folder / "approved.txt")
    settings = dataclasses.replace(plain, datasets={"knees": Data("phantom:?seed=2")})
    tables = {"": make_table(), "knees": renamed(make_table(20, 20), "knee-")}
    with contextlib.ExitStack() as stack:
        sets = {name: one(stack, settings.exposing(name), tables[name]) for name in tables}
        yield DataSets(settings.policy, sets)


def one(stack: contextlib.ExitStack, settings: SiteSettings, table: SliceTable) -> DataSet:
    ledger = Ledger.open(settings.vault.state / "ledger.jsonl")
    stack.callback(ledger.close)
    return DataSet(Jobs(settings, FakeSite(table), table, ledger), ledger, table)


def ask(sets: DataSets, task: SiteTask) -> SiteReply:
    return reply_from(wire.decode(sets.handle(encode(task))))


def approve(folder: Path, name: str, text: str, *words: str) -> str:
    (folder / name).write_text(text)
    return said(folder, "plan", "approve", str(folder / name), *words)


def test_a_plan_sees_the_data_set_that_its_approval_names(tmp_path: Path) -> None:
    with site(tmp_path) as sets:
        assert isinstance(ask(sets, enrol_task()), ErrorReply)
        approve(tmp_path, "plan.toml", PLAN.text, "--data", "knees")
        approve(tmp_path, "other.toml", OTHER.text)
        knees, others = ask(sets, enrol_task()), ask(sets, enrol_task(OTHER))
        assert isinstance(knees, DatasetCard) and knees.n_patients == 40
        assert isinstance(others, DatasetCard) and others.n_patients == 20
        assert "error" not in wire.decode(sets.handle(encode(train_task()))).kind
    state = tmp_path / "state"
    first, second = (
        read_ledger(folder / "ledger.jsonl") for folder in (state, state / "datasets" / "knees")
    )
    assert {e.run for e in second} == {PLAN.digest}
    assert {e.run for e in first if e.kind != "error"} == {OTHER.digest}
    shown = said(tmp_path, "plan", "show", str(tmp_path / "plan.toml"))
    assert "sees the data set knees" in shown
    assert "enrol" in said(tmp_path, "ledger", "show", "--data", "knees")


def test_a_plan_that_has_run_stays_with_its_data_set(tmp_path: Path) -> None:
    with site(tmp_path) as sets:
        approve(tmp_path, "plan.toml", PLAN.text, "--data", "knees")
        assert isinstance(ask(sets, enrol_task()), DatasetCard)
        with pytest.raises(InputError, match="revoke it first"):
            approve(tmp_path, "plan.toml", PLAN.text)
        said(tmp_path, "plan", "revoke", str(tmp_path / "plan.toml"))
        approve(tmp_path, "plan.toml", PLAN.text)
        reply = ask(sets, enrol_task())
        assert isinstance(reply, ErrorReply) and "another data set" in reply.sentence
    kinds = [e.kind for e in read_ledger(tmp_path / "state" / "ledger.jsonl")]
    assert kinds == ["error"]


def test_an_approval_for_a_data_set_that_is_gone_shows_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as sets:
        (tmp_path / "approved.txt").write_text(f"{PLAN.digest}  data=heads  tiny\n")
        reply = ask(sets, enrol_task())
        assert isinstance(reply, ErrorReply) and reply.code == "not-approved"
        assert "heads" not in reply.sentence
    with pytest.raises(InputError, match="one of knees"):
        approve(tmp_path, "other.toml", OTHER.text, "--data", "heads")


def test_the_status_is_of_all_data_sets_and_malformed_messages_are_answered(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as sets:
        approve(tmp_path, "plan.toml", PLAN.text, "--data", "knees")
        approve(tmp_path, "other.toml", OTHER.text)
        ask(sets, enrol_task())
        ask(sets, enrol_task(OTHER))
        assert sets.status().tally.replies == {"enrol": 2}
        assert wire.decode(sets.handle(wire.encode(PING))).kind == "pong"
        for data in (b"", b"\xff" * 40, wire.encode(wire.Message("train", {"plan": "no plan"}))):
            assert wire.decode(sets.handle(data)).kind == "error"


def test_a_patient_in_two_data_sets_is_refused_unnamed() -> None:
    with pytest.raises(InputError, match="20 that are in another") as refused:
        check_disjoint({"": make_table(), "knees": make_table()})
    assert "train-0" not in str(refused.value)


def test_a_vault_opens_every_data_set_of_its_settings(tmp_path: Path) -> None:
    small = "phantom:?patients=10&slices=2&size=32"
    sets = f'[datasets.knees]\nuri = "{small}&seed=2&hospital=knees"\n'
    text = SITE.replace("phantom:?seed=1", f"{small}&seed=1&hospital=north")
    (tmp_path / "site.toml").write_text(text + sets)
    settings = read_settings(tmp_path / "site.toml")
    with opened(settings, lambda: False) as vault:
        assert isinstance(vault, DataSets)
        assert vault.status().site == "north"
    keys = [(tmp_path / "state" / p / "site.key").read_text() for p in ("", "datasets/knees")]
    assert keys[0] != keys[1]
