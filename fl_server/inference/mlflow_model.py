"""An arm as an MLflow model: k-space or an image in, class probabilities out.

The folder holds the plan and the arm's weights as one checkpoint, nothing pickled, and the code
that reads them (:mod:`fl_server.inference.model_code`), so that it is served where this project is
not installed.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from fl_server.inference.model_code import LOADER, requirements, write_code
from fl_server.inference.trained_arm import MLFLOW_DATA, TrainedArm, open_arm
from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from infomri_core import __version__
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.inference.inference import (
    ArmQuery,
    deployed_weights,
    diagnose_images,
    diagnose_kspace,
    sampling_ratio,
)
from infomri_core.physics.kspace import ifft2c
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

IMAGE, REAL, IMAGINARY = "image", "kspace_real", "kspace_imag"
BATCH = 64
_REMEDY = 'give pandas.DataFrame({"image": [image.tolist()]}), an image (H, W) a row'


def save_model(folder: Path, saved: Checkpoint, arm: str) -> None:
    """Write the arm's weights in ``saved`` as an MLflow model into ``folder``, a new one.

    Signature: a row a slice, with ``image`` (H, W), or ``kspace_real`` and ``kspace_imag`` (H, W)
    of centred k-space; parameters ``acceleration``, ``draws``, ``seed`` and ``scale``.
    """
    from mlflow import pyfunc

    plan = parse_plan(saved.plan_text)
    weights = deployed_weights(plan, plan.arm(arm), saved.arms[arm])
    alone = Checkpoint(saved.plan_text, saved.round, {arm: weights}, saved.variance)
    with TemporaryDirectory(dir=folder.parent) as beside, warnings.catch_warnings():
        # MLflow's remarks on forms of models that this one is not.
        warnings.simplefilter("ignore")
        stored = Path(beside) / MLFLOW_DATA.name
        checkpoint.save(stored, alone)
        pyfunc.save_model(
            folder,
            loader_module=LOADER,
            data_path=str(stored),
            code_paths=write_code(Path(beside)),
            signature=_signature(plan),
            input_example=(_example(plan), {"acceleration": plan.measurement.accelerations[0]}),
            pip_requirements=requirements(),
            metadata={
                "infomri": __version__,
                "study": plan.study.name,
                "arm": arm,
                "plan_sha256": plan.digest,
            },
        )


@final
class Diagnoser:
    """What ``mlflow.pyfunc.load_model`` wraps: one arm that diagnoses slices."""

    def __init__(self, trained: TrainedArm) -> None:
        self._trained = trained

    def predict(
        self, model_input: "pd.DataFrame", params: Mapping[str, Any] | None = None
    ) -> "pd.DataFrame":
        """The task's answers, such as a probability for each label, (n, K), for the n slices of
        ``model_input``.

        Each slice is divided by ``scale``, the 99.9th percentile of its volume's magnitude, or by
        its own where that is 0; images are clipped to [0, 1] and measured with the training's
        noise, k-space keeps its own. Over ``draws`` masks the answers are averaged. The
        random numbers follow from ``seed``, and are those of ``infomri diagnose``. What will not
        do is an ``MlflowException`` that a server answers with status 400.
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException

        given = {"acceleration": 0.0, "draws": 1, "seed": 0, "scale": 0.0} | dict(params or {})
        try:
            found = self._diagnose(model_input.to_dict("records"), given)
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(found, columns=list(self._trained.plan.task.answer_names))

    def _diagnose(self, rows: list[dict[Any, Any]], params: Mapping[str, Any]) -> np.ndarray:
        plan, arm = self._trained.plan, self._trained.arm
        acceleration = float(params["acceleration"]) or plan.measurement.accelerations[0]
        ratio = sampling_ratio(plan, acceleration)
        generator = torch_generator(int(params["seed"]), "diagnose", arm.name, acceleration)
        slices = [self._slice(i, row, float(params["scale"])) for i, row in enumerate(rows)]
        if not slices:
            expected = f"rows with '{IMAGE}', or '{REAL}' and '{IMAGINARY}'"
            raise InputError("model input", expected, "none", _REMEDY)
        if len({s.dtype for s in slices}) > 1:
            got = "images and k-space"
            raise InputError("model input", "rows of one kind", got, "send them in two requests")
        diagnose = diagnose_kspace if torch.is_complex(slices[0]) else diagnose_images
        batches = (torch.stack(slices[i : i + BATCH]) for i in range(0, len(slices), BATCH))
        given = (ratio, generator, int(params["draws"]))
        return np.concatenate([diagnose(self._trained.model, b, *given).mean for b in batches])

    def _slice(self, number: int, row: Mapping[str, Any], scale: float) -> torch.Tensor:
        """The row's image in [0, 1], float32, or its scaled k-space, complex64; (H, W)."""
        where = f"row {number}"
        image, real, imaginary = (row.get(name) for name in (IMAGE, REAL, IMAGINARY))
        if (image is None) != (real is not None and imaginary is not None):
            remedy = "give one of them in each row"
            expected = f"'{IMAGE}', or '{REAL}' and '{IMAGINARY}'"
            raise InputError(where, expected, "both or neither", remedy)
        if image is not None:
            plane = self._plane(where, image)
            if (plane < 0).any():
                remedy = "give the magnitude image, or k-space"
                raise InputError(where, "a magnitude image", "negative values", remedy)
            scale = scale or volume_scale([plane], 1, where)
            return torch.from_numpy(normalise(plane, scale))
        kspace = self._plane(where, real) + 1j * self._plane(where, imaginary)
        magnitude = ifft2c(torch.from_numpy(kspace)).abs().numpy()
        scale = scale or volume_scale([magnitude], 1, where)
        return torch.from_numpy((kspace / scale).astype(np.complex64))

    def _plane(self, where: str, values: Any) -> np.ndarray:
        shape = self._trained.plan.task.shape
        try:
            plane = np.array([list(line) for line in values], dtype=np.float64)
        except (ValueError, TypeError):
            plane = np.empty(0)
        if plane.shape != tuple(shape):
            got = str(plane.shape) if plane.size else "rows of different length"
            remedy = "crop or resample it"
            raise InputError(where, f"a slice of shape {tuple(shape)}", got, remedy)
        return plane


def _load_pyfunc(data_path: str) -> Diagnoser:
    """MLflow's entry point of models that version 0.1.0 wrote at first, without their code."""
    return Diagnoser(open_arm(Path(data_path), ArmQuery()))


def _signature(plan: Plan) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

    plane = Array(Array(DataType.double))
    columns: list[Any] = [ColSpec(plane, n, required=False) for n in (IMAGE, REAL, IMAGINARY)]
    params = [
        ParamSpec("acceleration", DataType.double, plan.measurement.accelerations[0]),
        ParamSpec("draws", DataType.long, 1),
        ParamSpec("seed", DataType.long, 0),
        ParamSpec("scale", DataType.double, 0.0),
    ]
    answers: list[Any] = [ColSpec(DataType.double, name) for name in plan.task.answer_names]
    return ModelSignature(Schema(columns), Schema(answers), ParamSchema(params))


def _example(plan: Plan) -> "pd.DataFrame":
    """A disc: an image of no one, that shows the form of a request."""
    import pandas as pd

    y, x = (np.linspace(-1, 1, n) for n in plan.task.shape)
    disc = (np.hypot(y[:, None], x[None, :]) < 0.7).astype(np.float64)
    return pd.DataFrame({IMAGE: [disc.tolist()]})
