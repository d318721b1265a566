"""The code that the documentation shows does what it says: tutorial, how-to's and examples."""

import runpy
import tomllib
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from typer.testing import CliRunner

import fl_client.cli
import fl_server.cli
from fl_server.settings import Audit
from infomri_core.errors import InputError
from tests.documentation import (
    IN_TUTORIAL,
    ROOT,
    RUN_BY,
    TUTORIAL,
    Invocation,
    blocks,
    invocations,
)

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
SMALL = (
    ("patients=40", "patients=14&size=32"),
    ("--attacks lmmse,tv,cnn,unet --steps cnn=400,unet=1500", "--attacks lmmse --steps reader=0"),
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


def call(line: Invocation, words: list[str]) -> str:
    app = fl_server.cli.app if line.program == "infomri" else fl_client.cli.app
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def small(plan: str) -> str:
    """The tutorial's plan in little: fewer steps, a narrower network, one of its arms."""
    table = tomllib.loads(plan)
    table["task"]["shape"] = [32, 32]
    table["model"]["width"] = 4
    table["training"] |= {"rounds": 1, "local_steps": 2, "batch_size": 8}
    table["evaluation"] = {"attacks": ["lmmse"], "replicates": 20, "attack_slices": 1}
    table["arms"] = table["arms"][2:3]
    return tomli_w.dumps(table)


def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr("fl_server.central.Audit", partial(Audit, reader_steps=2))
    tables = blocks(TUTORIAL, "toml")
    (tmp_path / "plan.toml").write_text(small(tables[0]))
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).random((32, 32)).astype(np.float32))
    said: dict[str, str] = {}
    for line in invocations(TUTORIAL):
        if RUN_BY[line.subcommand] != IN_TUTORIAL or "--register" in line.words:
            continue
        text = "\0".join(line.words)
        for large, little in SMALL:
            text = text.replace(large.replace(" ", "\0"), little.replace(" ", "\0"))
        run = next((str(p.parent) for p in tmp_path.glob("runs/*/*/results.json")), "")
        words = [{"RUN": run, "OTHER": run}.get(word, word) for word in text.split("\0")]
        said[line.subcommand] = call(line, words[1:])
        if line.subcommand == "infomri provision":
            unpack(tmp_path / "federation" / "kits" / "north.zip", tmp_path / "infomri-north")
    assert len(list((tmp_path / "masks").glob("*.npy"))) >= 2
    assert "knee-1.infomri-marginal-b0.001-s0" in said["infomri model list"]
    assert "AUROC" in said["infomri train"] and "AUROC" in said["infomri compare"]
    assert "not approved" in said["infomri-client plan show"]
    assert "is approved at this site" in said["infomri-client plan approve"]


def unpack(kit: Path, folder: Path) -> None:
    """As the tutorial says: unzip, closed to others, with phantoms for data."""
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(folder)
    folder.chmod(0o700)
    settings = folder / "site.toml"
    text = settings.read_text().replace("slices:study.h5", "phantom:?hospital=north&size=32")
    settings.write_text(text)
