"""A trained arm from what a run left on the disk."""

from dataclasses import dataclass
from pathlib import Path

from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from fl_server.run.folder import folder_with
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.inference.inference import ArmQuery, choose_arm, restore
from infomri_core.plan.plan import Arm, Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.system.device import pick_device
from infomri_core.system.errors import InputError

MLFLOW_DATA = Path("data") / "arm"


@dataclass(frozen=True)
class TrainedArm:
    """One arm ready for use, and the round its weights are of."""

    plan: Plan
    arm: Arm
    model: SampledModel
    round: int

    @property
    def caution(self) -> str:
        """What the user should know about these weights, or ''."""
        rounds = self.plan.training.rounds
        if self.round >= rounds:
            return ""
        how = f"after {self.round} of {rounds} rounds" if self.round else "before any training"
        return f"the weights are those {how}"


def open_arm(model: Path, query: ArmQuery, device: str = "cpu") -> TrainedArm:
    """The arm that ``query`` chooses in ``model``: a run's folder, an MLflow model's, or one
    checkpoint file. Where there are weights of one arm only, no choice is needed.

    Raises ``InputError`` when there is no checkpoint, or no such arm in it.
    """
    saved = read_model(model)
    plan = parse_plan(saved.plan_text, f"plan in {model}")
    if query == ArmQuery() and len(saved.arms) == 1:
        query = ArmQuery(next(iter(saved.arms)))
    arm = choose_arm(plan, query, saved.arms, saved.dropped)
    restored = restore(plan, arm, saved.arms[arm.name], pick_device(device))
    return TrainedArm(plan, arm, restored, saved.round)


def read_model(model: Path) -> Checkpoint:
    """The newest whole checkpoint under ``model``, or ``model`` itself where it is a file."""
    if model.is_file():
        return checkpoint.load(model)
    inner = folder_with(model, "checkpoints")
    for folder in (inner / "checkpoints", model / MLFLOW_DATA, model):
        found = checkpoint.latest(folder)
        if found is not None:
            return found
    got = "no checkpoint there" if model.is_dir() else "no such file or folder"
    remedy = "give the folder of a run, see `infomri status`"
    raise InputError(str(model), "a run with checkpoints/round-*.safetensors", got, remedy)
