"""The patient rebuilt best stays at the site: in its own report, and in no reply."""

import json
from pathlib import Path

import numpy as np
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.floors.prior import Constant, Mean
from infomri_core.audit.adversaries import Adversaries
from infomri_core.data import open_dataset
from infomri_core.messages import EvaluateTask, wire
from infomri_core.plan.reading import without_noise
from infomri_core.sampling import UniformPolicy
from infomri_core.site.release import permanent_id
from infomri_core.site.site import Site
from infomri_core.site.worst_patient import WorstPatients
from tests.support.small import site_uri, small_plan

SECRET = "5" * 64


def evaluate(directory: Path, secret: str = SECRET) -> tuple[bytes, dict[str, object], list[str]]:
    """The bytes of a site's scores, its own report, and its patients."""
    plan, dataset = without_noise(small_plan()), open_dataset(site_uri("north"))
    images = dataset.images(range(8))
    policy, generator = UniformPolicy((32, 32)), torch.Generator()
    floors = [
        floor((32, 32)).fit(AuditSet.of(images, policy, [0.1], 0.02, generator))
        for floor in (Mean, Constant)
    ]
    adversaries = Adversaries({floor.name: floor for floor in floors})
    arms = {arm.name: flatten(build_model(plan, arm)) for arm in plan.arms}
    task = EvaluateTask(plan.text, 3, 4e9, arms, adversaries.to_arrays())
    site = Site(dataset, "north", directory, secret=secret)
    reply = wire.encode(site.evaluate(plan, task, lambda: False).to_message())
    (report,) = directory.glob("worst-patients-*.json")
    return reply, json.loads(report.read_text()), sorted(set(dataset.table.patients))


def test_the_report_names_the_patient_rebuilt_best_by_a_keyed_id(tmp_path: Path):
    _, report, patients = evaluate(tmp_path / "a")
    concealed = {permanent_id(SECRET, patient) for patient in patients}
    worst = report["worst"]
    assert isinstance(worst, list)
    assert len(worst) == 2 * 2 * 2
    for entry in worst:
        assert entry["patient"] in concealed
        assert entry["psnr"] >= entry["psnr_mean_of_patients"]
    text = json.dumps(report)
    assert not any(patient in text for patient in patients)


def test_nothing_of_it_is_on_the_wire(tmp_path: Path):
    reply, report, patients = evaluate(tmp_path / "a")
    worst = report["worst"]
    assert isinstance(worst, list)
    assert b"worst" not in reply
    for name in [*patients, *(entry["patient"] for entry in worst)]:
        assert name.encode() not in reply
    other, _, _ = evaluate(tmp_path / "b")
    assert other == reply


def test_slices_count_as_their_patients_mean():
    worst = WorstPatients(lambda patient: f"<{patient}>")
    psnr = np.array([30.0, 10.0, 21.0, 21.0])
    metrics = np.stack([psnr, *np.zeros((3, 4))], axis=1)
    worst.add(("arm", 8.0), np.array(["a", "a", "b", "b"]), {"lmmse": metrics})
    worst.add(("arm", 8.0), np.array([], dtype=str), {})
    (entry,) = worst.found
    assert (entry["patient"], entry["psnr"], entry["psnr_mean_of_patients"]) == ("<b>", 21.0, 20.5)
