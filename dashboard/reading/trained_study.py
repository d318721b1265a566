"""The arms and attackers of a finished study, at work on this machine."""

import io
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.audit.adversaries import Adversaries, load_adversaries
from infomri_core.inference.inference import restore
from infomri_core.physics.entropy import entropy_map, redundancy
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.results.study_file import StudyFile, parse_study_file
from infomri_core.sampling import mask_sampler

DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Drawn:
    """An arm at one ratio, all (H, W) with zero frequency in the middle: ``probability`` of each
    point, one ``mask`` (uint8), and the nats that each point adds ``beyond_noise`` on average."""

    probability: np.ndarray
    mask: np.ndarray
    beyond_noise: np.ndarray
    redundancy: float

    @property
    def n_points(self) -> int:
        """How many points of k-space the mask measures."""
        return int(self.mask.sum())


@final
@dataclass
class TrainedStudy:
    """A study's plan, its models and its attackers, each built when it is first asked for."""

    plan: Plan
    file: StudyFile
    _models: dict[str, SampledModel] = field(default_factory=dict)
    _adversaries: Adversaries | None = None

    @classmethod
    def of(cls, data: bytes) -> "TrainedStudy":
        """The study in the bytes of its file. Raises ``InputError``."""
        file = parse_study_file(data)
        return cls(parse_plan(file.plan_text, "the study's plan"), file)

    @property
    def arms(self) -> list[str]:
        """Names of the arms that were trained to the end, in the plan's order."""
        return [arm.name for arm in self.plan.arms if arm.name in self.file.arms]

    def model(self, arm: str) -> SampledModel:
        """The trained model of an arm, in evaluation mode."""
        if arm not in self._models:
            self._models[arm] = restore(self.plan, self.plan.arm(arm), self.file.arms[arm])
        return self._models[arm]

    @property
    def adversaries(self) -> Adversaries:
        """The attackers as they were scored."""
        if self._adversaries is None:
            shape = self.plan.task.shape
            self._adversaries = load_adversaries(self.file.attacks, shape, DEVICE)
        return self._adversaries


@torch.no_grad()
def draw(study: TrainedStudy, arm: str, ratio: float, seed: int) -> Drawn:
    """The arm's probabilities at ``ratio``, and the mask that ``seed`` draws from them."""
    model = study.model(arm)
    probability = mask_sampler(model.sampler).at(ratio).probability
    mask = model.draw(ratio, 1, torch_generator(seed, "dashboard", arm))[0]
    variance = torch.from_numpy(np.array(study.file.variance))
    nats = [entropy_map(probability, v, model.noise_std) for v in (variance, 0 * variance)]
    return Drawn(
        probability.float().numpy(),
        mask.to(torch.uint8).numpy(),
        (nats[0] - nats[1]).float().numpy(),
        float(redundancy(mask[None])[0]),
    )


def npy(array: np.ndarray) -> bytes:
    """The array as a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def csv(array: np.ndarray) -> bytes:
    """The array (H, W) as comma-separated rows."""
    stream = io.StringIO()
    whole = np.issubdtype(array.dtype, np.integer)
    np.savetxt(stream, array, fmt="%d" if whole else "%.6g", delimiter=",")
    return stream.getvalue().encode()
