"""The code that the documentation shows does what it says: tutorial, how-to's and examples."""

import runpy
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tomli_w
import torch

from fl_server.settings import Audit
from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError
from tests.support.documentation import IN_TUTORIAL, ROOT, RUN_BY, TUTORIAL, blocks, invocations
from tests.support.hospital_files import Series, write_labels
from tests.support.tutorial import call

N_PATIENTS = 6
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
SMALL = (
    ("patients=40", "patients=14&size=32"),
    ("--attacks lmmse,tv,cnn,unet --steps cnn=400,unet=1500", "--attacks lmmse --steps reader=0"),
    (" /export ", " export "),
    ("visitor&patients=2", "visitor&patients=2&size=32"),
    ("infomri model approve", "infomri model approve --yes"),
)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_code_of_a_how_to_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    (tmp_path / "code.py").write_text(code, "utf-8")
    runpy.run_path(str(tmp_path / "code.py"))


def example(name: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def test_the_example_of_a_sampler_trains_and_audits_it() -> None:
    found = example("own_sampler")["main"](["--steps", "2", "--size", "32", "--patients", "10"])
    assert set(found) == {"rings", "uniform", "variable density"}
    assert found["variable density"].psnr > found["uniform"].psnr > found["uniform"].floor


def test_the_example_of_a_mask_finds_that_more_is_rebuilt_from_more(tmp_path: Path) -> None:
    figures, data = example("audit_a_mask")["figures"], example("audit_a_mask")["images_for"]
    less, more = torch.zeros(2, 32, 32)
    less[:, 14:18], more[:, 8:24] = 1, 1
    few, many = (figures(m, data(m, "", 10), ["lmmse"], 0.02) for m in (less, more))
    assert many["lmmse"][0] > few["lmmse"][0] + 3
    assert few["mean"][0] == many["mean"][0] < few["lmmse"][0]


def test_the_example_of_a_mask_refuses_what_is_none(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.full((8, 8), 0.5))
    with pytest.raises(InputError, match="0 and 1"):
        example("audit_a_mask")["main"]([str(tmp_path / "mask.npy")])


def small(plan: str) -> str:
    """The tutorial's plan in little: fewer steps, a narrower network, one of its arms."""
    table = tomllib.loads(plan)
    table["task"]["shape"] = [32, 32]
    table["model"]["width"] = 4
    table["training"] |= {"rounds": 1, "local_steps": 2, "batch_size": 8}
    table["evaluation"] = {"attacks": ["lmmse"], "attack_slices": 1}
    table["arms"] = table["arms"][2:3]
    return tomli_w.dumps(table)


def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "250")
    export(tmp_path)
    monkeypatch.setattr("fl_server.central.Audit", partial(Audit, reader_steps=2))
    tables = blocks(TUTORIAL, "toml")
    (tmp_path / "plan.toml").write_text(small(tables[0]))
    said: dict[str, str] = {}
    for line in invocations(TUTORIAL):
        if RUN_BY[line.subcommand] != IN_TUTORIAL:
            continue
        text = "\0".join(line.words)
        for large, little in SMALL:
            text = text.replace(large.replace(" ", "\0"), little.replace(" ", "\0"))
        run = next((str(p.parent) for p in tmp_path.glob("runs/*/*/results.json")), "")
        words = [{"RUN": run, "OTHER": run}.get(word, word) for word in text.split("\0")]
        said[line.subcommand] = call(line.program, *words[1:])
    assert set(said) == {command for command, test in RUN_BY.items() if test == IN_TUTORIAL}
    assert "no defects" in said["infomri data check"]
    assert len(np.unique(open_dataset("slices:study.h5").table.patients)) == N_PATIENTS
    assert len(list((tmp_path / "masks").glob("*.npy"))) >= 2
    assert "knee-1.infomri-marginal-b0.001-s0" in said["infomri model list"]
    assert "AUROC" in said["infomri train"] and "AUROC" in said["infomri compare"]


def export(folder: Path) -> None:
    """What a hospital exports: a series of each patient, and a table of their findings."""
    for number in range(N_PATIENTS):
        name = f"P{number}"
        series = Series(name, study_uid=f"1.2.{number + 1}", series_uid=f"1.3.{number + 1}")
        noise = np.random.default_rng(number)
        for path in series.write(folder / "export" / name):
            dataset = pydicom.dcmread(path)
            grey = dataset.pixel_array + noise.integers(0, 20, dataset.pixel_array.shape)
            dataset.PixelData = grey.astype(np.uint16).tobytes()
            dataset.save_as(path)
    rows = [f"P{number},{number % 2}" for number in range(N_PATIENTS)]
    write_labels(folder / "labels.csv", "patient,tear", *rows)
