"""Registered arms: an MLflow model diagnoses as the command line does, and is approved by name."""

import asyncio
import json
import warnings
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fl_server.cli import app
from fl_server.inference.mlflow_model import IMAGE, IMAGINARY, REAL, save_model
from fl_server.inference.register import MODELS, register_models
from fl_server.inference.trained_arm import open_arm, read_model
from fl_server.settings import Audit, Centre, CentreSettings, Mlflow
from fl_server.tracking.registry import APPROVED, CANDIDATE, model_name, register, versions
from fl_server.tracking.runs import connect
from fl_server.tracking.store import local_model
from fl_server.tracking.tracker import Tracker
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.inference.inference import ArmQuery, diagnose_images
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError
from tests.support.rows import row_of
from tests.support.trained_runs import DROPPED, LABELS, make_images, make_run

ARM = "infomri-marginal-b0.001-s0"
NAME = model_name("trained", ARM)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed run whose arms are in the registry of the store beside it."""
    directory = make_run(tmp_path_factory.mktemp("runs") / "trained-1")
    plan = parse_plan(read_model(directory).plan_text)
    tracker = Tracker(
        CentreSettings(Audit("phantom:"), Centre(directory.parent)), plan, "trained-1"
    )
    rows = [row_of(ARM, "infomri", 1e-3, 0, 4.0, auroc=0.9, psnr={"unet": 15.0})]
    tracker.result(rows)
    register_models(directory, plan, rows, tracker)
    tracker.finish("FINISHED")
    return directory


@pytest.fixture(scope="module")
def model(run: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import pyfunc

        return pyfunc.load_model(str(run / MODELS / ARM))


def request(column: str, planes: np.ndarray) -> dict[str, list]:
    return {column: [plane.tolist() for plane in planes]}


def test_the_model_says_what_the_arm_says_of_the_same_image(run, model):
    import pandas as pd

    images = make_images(2)
    found = model.predict(
        pd.DataFrame(request(IMAGE, images)), {"acceleration": 4.0, "draws": 3, "seed": 5}
    )
    trained = open_arm(run, ArmQuery(ARM))
    scaled = np.stack([normalise(x, volume_scale([x], 1, "")) for x in images])
    generator = torch_generator(5, "diagnose", ARM, 4.0)
    expected = diagnose_images(trained.model, torch.from_numpy(scaled), 0.25, generator, 3).mean
    assert list(found.columns) == list(LABELS)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-6)


def test_kspace_is_taken_as_two_planes_and_the_scale_as_it_is_given(model):
    import pandas as pd

    kspace = fft2c(torch.from_numpy(make_images(1))).numpy()
    planes = request(REAL, kspace.real) | request(IMAGINARY, kspace.imag)
    own = model.predict(pd.DataFrame(planes), {"acceleration": 4.0})
    scale = volume_scale(make_images(1), 1, "")
    given = model.predict(pd.DataFrame(planes), {"acceleration": 4.0, "scale": float(scale)})
    np.testing.assert_allclose(own.to_numpy(), given.to_numpy(), rtol=1e-4)
    other = model.predict(pd.DataFrame(planes), {"acceleration": 4.0, "scale": 3 * float(scale)})
    assert abs(own.to_numpy() - other.to_numpy()).max() > 1e-4


def test_the_scoring_server_answers_with_probabilities_or_with_what_is_wrong(model, run):
    from mlflow.pyfunc.scoring_server import init

    served = httpx.ASGITransport(init(model))

    async def ask(content: dict) -> httpx.Response:
        async with httpx.AsyncClient(transport=served, base_url="http://model") as client:
            return await client.post("/invocations", json=content)

    def post(content: dict) -> tuple[int, dict]:
        reply = asyncio.run(ask(content))
        return reply.status_code, reply.json()

    example = json.loads((run / MODELS / ARM / "serving_input_example.json").read_text())
    status, answer = post(example)
    (row,) = answer["predictions"]
    assert status == 200
    assert row.keys() == set(LABELS)
    assert all(0 < p < 1 for p in row.values())
    status, answer = post({"dataframe_records": [{IMAGE: [[1.0, 2.0]]}]})
    assert (status, "a slice of shape (18, 16)" in answer["message"]) == (400, True)
    status, answer = post(example | {"params": {"acceleration": 1000.0}})
    assert (status, "ratio_range" in answer["message"]) == (400, True)


def test_a_bare_array_is_refused_with_the_form_to_give(model):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=r'pandas.DataFrame\(\{"image"'):
        model.predict(make_images(1)[0])


def test_every_trained_arm_is_a_candidate_with_its_figures_and_once_only(run):
    client = connect(f"sqlite:///{run.parent / 'mlflow.db'}")
    found = {version.name: version for version in versions(client)}
    assert len(found) == 4
    assert model_name("trained", DROPPED) not in found
    assert all(v.aliases == (CANDIDATE,) or v.name == NAME for v in found.values())
    assert found[NAME].tags["auroc/4x"] == "0.9"
    assert found[NAME].tags["pareto/4x"] == "yes"
    register(client, found[NAME].run_id, NAME, str(run / MODELS / ARM), {})
    assert len(versions(client, NAME)) == 1


def test_an_approval_names_who_gave_it_and_can_be_asked_for_and_withdrawn(run, tmp_path):
    store = str(run)
    with pytest.raises(InputError, match="approved not found"):
        local_model(f"models:/{NAME}@{APPROVED}", store)
    call = CliRunner().invoke
    approve = ["model", "approve", NAME, "1", "--by", "A. Noether", "--store", store]
    refused = call(app, approve, input="n\n")
    assert isinstance(refused.exception, InputError)
    shown = call(app, approve, input="y\nsmall loss\n")
    assert "@approved is version 1 now" in shown.stdout
    for part in ("0.900", "nothing about privacy", "Linkage was not measured"):
        assert part in shown.stderr
    listed = json.loads(call(app, ["model", "list", "--json", "--store", store]).stdout)
    (mine,) = (v for v in listed if v["name"] == NAME)
    assert set(mine["aliases"]) == {APPROVED, CANDIDATE}
    assert mine["tags"]["infomri.approved_by"] == "A. Noether"
    assert mine["tags"]["infomri.approval_note"] == "small loss"
    assert "@approved" in call(app, [*approve, "--yes", "--why", "again"]).stdout
    registered = f"models:/{NAME}@{APPROVED}"
    masks = ["masks", "export", "--model", registered, "--store", store, "--acceleration", "4"]
    assert call(app, [*masks, "--out", str(tmp_path / "masks")]).exit_code == 0
    folder = local_model(registered, store)
    assert open_arm(folder, ArmQuery()).arm.name == ARM
    withdrawn = call(app, ["model", "withdraw", NAME, "--store", store])
    assert "no longer approved" in withdrawn.stdout
    unknown = call(app, ["model", "approve", NAME, "7", "--by", "x", "--store", store, "--yes"])
    assert "its versions: 1" in str(unknown.exception)


def test_what_a_run_could_not_report_is_sent_later_with_its_models(tmp_path):
    directory = make_run(tmp_path / "trained-2")
    plan = parse_plan(read_model(directory).plan_text)
    (tmp_path / "file").write_text("a file where a store should be")
    lost = Mlflow(f"sqlite:///{tmp_path}/file/mlflow.db")
    tracker = Tracker(CentreSettings(Audit("phantom:"), Centre(tmp_path), lost), plan, "trained-2")
    tracker.round(2, {ARM: {"train/ce": 0.5}})
    tracker.model(ARM, make_model(tmp_path), NAME, {})
    tracker.finish("FINISHED")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    call = CliRunner().invoke(app, ["resend", str(directory), "--store", store])
    assert (call.exit_code, call.stdout) == (0, "all of it is in MLflow\n")
    client = connect(store)
    (found,) = versions(client, NAME)
    reported = client.get_run(found.run_id)
    assert (reported.info.status, reported.data.metrics) == ("FINISHED", {"train/ce": 0.5})
    assert open_arm(local_model(found.uri, store), ArmQuery()).arm.name == ARM


def test_a_demos_folder_stands_for_the_run_in_it(tmp_path):
    directory = make_run(tmp_path / "centre" / "trained-2")
    tracker = Tracker(
        CentreSettings(Audit("phantom:"), Centre(directory.parent), Mlflow("sqlite:////dev/null")),
        parse_plan(read_model(directory).plan_text),
        directory.name,
    )
    tracker.round(2, {ARM: {"train/ce": 0.5}})
    tracker.close()
    store = f"sqlite:///{tmp_path}/mlflow.db"
    call = CliRunner().invoke(app, ["resend", str(tmp_path), "--store", store])
    assert (call.exit_code, call.stdout) == (0, "all of it is in MLflow\n")


def make_model(directory: Path) -> Path:
    save_model(directory / "model", read_model(directory / "trained-2"), ARM)
    return directory / "model"


def test_a_model_holds_no_pickle_and_the_weights_of_one_arm(run, tmp_path):
    save_model(tmp_path / "model", read_model(run), "uniform-s0")
    kinds = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert kinds <= {"", ".json", ".yaml", ".txt", ".safetensors", ".py", ".zip"}
    assert set(read_model(tmp_path / "model").arms) == {"uniform-s0"}
