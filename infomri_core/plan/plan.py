"""The study plan as a value: what one TOML text says. The sha256 of the text is its identity."""

import hashlib
from dataclasses import dataclass, field
from typing import cast

from infomri_core.models.settings import Model
from infomri_core.sampling.masks import Method
from infomri_core.sampling.options import SamplerOptions, Setting, Start
from infomri_core.sampling.policy import Constraint
from infomri_core.sampling.registry import options_from
from infomri_core.tasks.task import Task

OCTAVES = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True)
class Study:
    """``seed`` is the root of every random number of the study."""

    name: str
    seed: int = 0


@dataclass(frozen=True)
class Measurement:
    """Noise and sampling. Ratios are fractions of k-space; acceleration = 1 / ratio.

    Args:
        noise_std: Standard deviation of the noise's real and of its imaginary part.
        constraint: "2d", points, or "1d", whole columns.
        accelerations: Where arms are scored; where a plan names none, every octave from 8 to 256
            that ``ratio_range`` allows, since measuring less is a rival of suppression.
    """

    noise_std: float = 0.02
    constraint: str = "2d"
    ratio_range: tuple[float, float] = (0.02, 0.16)
    accelerations: tuple[float, ...] = ()
    method: str = "systematic"

    def __post_init__(self) -> None:
        if not self.accelerations:
            (low, high), e = self.ratio_range, 1e-9
            found = tuple(a for a in OCTAVES if low - e <= 1 / a <= high + e)
            object.__setattr__(self, "accelerations", found)


@dataclass(frozen=True)
class Training:
    """How long is trained, and how.

    Args:
        local_steps: Optimizer steps per round at each site.
        beta_warmup: Share of the whole schedule with beta at zero, followed by a linear rise of
            the same length.
        lost_state: What a site does that has lost its optimizer state: "refuse" the round, or
            "continue" with a fresh one, which the results then say.
        momentum: What Adam's first moment at a site begins a round with: its own of the round
            before ("local"), or the step that all sites took together in it ("global").
    """

    rounds: int = 4
    local_steps: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    policy_learning_rate: float = 1e-2
    beta_warmup: float = 0.25
    flips: bool = False
    quorum: int = 1
    deadline_seconds: float = 3600.0
    lost_state: str = "refuse"
    momentum: str = "local"


@dataclass(frozen=True)
class Aggregation:
    """How one model is made of the sites' weights.

    Args:
        server_learning_rate: FedAdam's, as the betas and ``tau`` are.
        trim: Share of sites cut at each end by the trimmed mean.
        byzantine: How many wrong sites Multi-Krum withstands.
        rate_scale: Multiplies both learning rates of arms that are averaged: K sites that step
            together take K times fewer steps than one that has all data (Goyal et al. 2017).
        secure: Updates leave the sites masked, and the study centre sees only their sum over at
            least ``quorum`` sites.
        threshold: So many sites give a secret back, or a majority where that is more.
        degree: Each site masks with so many others, or all where they are fewer.
        precision: Of an update that leaves a site, float32, bfloat16 or int8; what rounding cuts
            off is kept there and added to the next.
    """

    strategy: str = "fedavg"
    proximal: float = 0.01
    server_learning_rate: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3
    trim: float = 0.2
    byzantine: int = 1
    rate_scale: float = 1.0
    secure: bool = False
    threshold: int = 2
    degree: int = 40
    precision: str = "float32"

    @property
    def proximal_weight(self) -> float:
        """The weight of the proximal term; zero but for FedProx."""
        return self.proximal if self.strategy == "fedprox" else 0.0


@dataclass(frozen=True)
class Evaluation:
    """What the sites score.

    Args:
        position_band: Only slices whose relative position in the volume lies inside.
        attack_slices: The most slices that a patient contributes to attack scores.
        adversaries: Whose images train the attacks: "public", "insider", "site".
        adversary_steps: Optimizer steps of insiders and of sites.
        insider_rounds: In each of which insiders take those steps.
        noise: All that a scoring says of a patient is a mechanism of ``epsilon`` at ``delta``.
        clip_db: A patient's PSNRs are clipped to this root mean square, dB, about those of the
            study centre's own patients.
    """

    attacks: tuple[str, ...] = ("lmmse", "cnn", "unet")
    position_band: tuple[float, float] | None = None
    attack_slices: int = 4
    replicates: int | None = None  # without effect: plans of earlier versions have it
    adversaries: tuple[str, ...] = ("public",)
    adversary_steps: int = 200
    insider_rounds: int = 1
    noise: bool = True
    epsilon: float = 8.0
    delta: float = 1e-5
    clip_db: float = 4.0


_DEFAULT = cast(SamplerOptions, None)
MOST = 1.0
"""Nats a dB that the suppression of an arm with a target may come to weigh, without a beta."""


@dataclass(frozen=True)
class Arm:
    """One sampler with one suppression strength, trained beside the others.

    Args:
        beta: Above 0: the task and beta times the suppression. 0: the task. Below 0: the task and
            -beta times the image's likelihood. ``"-inf"``: the image alone.
        suppression: What beta > 0 weighs: marginal, joint (nats), attack, adversarial (dB), none.
        options: The sampler's own keys, which stand under the arm, too; by default those it has
            without any.
        alone: Each site also trains it by itself, on as many samples, and scores it beside the
            others; those weights never leave the site.
        psnr_target: dB that the attack is held to; beta is then the most the suppression weighs.
    """

    sampler: str
    beta: float = 0.0
    suppression: str = "none"
    seed: int = 0
    options: SamplerOptions = _DEFAULT
    alone: bool = False
    psnr_target: float | None = None

    def __post_init__(self) -> None:
        if self.psnr_target is not None and self.beta == 0:
            object.__setattr__(self, "beta", MOST)
        if self.options is _DEFAULT:
            object.__setattr__(self, "options", options_from(self.sampler, {}, "[[arms]]"))

    @property
    def asks_for_images(self) -> bool:
        """Whether it is trained to rebuild the image."""
        return self.beta < 0

    @property
    def name(self) -> str:
        """Identity of the arm in messages, checkpoints and MLflow."""
        parts = [self.sampler, *self.options.tags()]
        if self.psnr_target is not None:
            parts.append(f"{self.suppression}-t{self.psnr_target:g}")
        elif self.suppression != "none":
            parts.append(f"{self.suppression}-b{self.beta:g}")
        elif self.beta:
            parts.append(f"b{self.beta:g}")
        return "-".join([*parts, f"s{self.seed}"])


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of the weights (DP-SGD); without this section there is none.

    ``unit``: whom it protects, patient or slice. ``rate``: the chance of each unit to take part
    in a step, the same at every site whatever its size. ``lot``: a constant that the sum of a
    step is divided by, best ``rate`` times the units of a typical site. ``clip``: the norm each
    unit's gradient is clipped to; the noise of each step has standard deviation
    ``noise_multiplier * clip`` before the sum is divided by ``lot``. Epsilon at ``delta`` follows
    from the plan alone. ``losses``: let loss terms leave; they stand outside epsilon.
    """

    noise_multiplier: float
    rate: float = 0.0
    lot: int = 16
    clip: float = 1.0
    delta: float = 1e-5
    unit: str = "patient"
    losses: bool = False


@dataclass(frozen=True)
class Moments:
    """The variance of k-space from the sites' own training patients, in place of the study
    centre's audit set alone; needs ``[privacy]``, whose unit, delta and budget are shared.

    Each unit gives the squares of its k-space about the audit set's mean, averaged over its
    slices and clipped to the norm ``clip`` over all positions and parts; the noise of the sum has
    standard deviation ``noise_multiplier * clip`` at every position.
    """

    noise_multiplier: float
    clip: float


@dataclass(frozen=True)
class Release:
    """The one arm and acceleration of which consenting patients' sampled k-space is asked."""

    arm: str
    acceleration: float


@dataclass(frozen=True)
class Plan:
    """A whole study, made with ``infomri_core.plan.reading.parse_plan``. ``text`` is what was
    approved."""

    study: Study
    task: Task
    arms: tuple[Arm, ...]
    measurement: Measurement = field(default_factory=Measurement)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    aggregation: Aggregation = field(default_factory=Aggregation)
    release: Release | None = None
    privacy: Privacy | None = None
    moments: Moments | None = None
    text: str = field(default="", repr=False, metadata={"toml": False})

    @property
    def digest(self) -> str:
        """sha256 of the plan's text, hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def constraint(self) -> Constraint:
        """``measurement.constraint``, typed."""
        return cast(Constraint, self.measurement.constraint)

    @property
    def method(self) -> Method:
        """``measurement.method``, typed."""
        return cast(Method, self.measurement.method)

    @property
    def start(self) -> Start:
        """``model.start``, typed."""
        return cast(Start, self.model.start)

    @property
    def setting(self) -> Setting:
        """What all samplers of the plan are made for."""
        return Setting(
            self.task.shape,
            self.constraint,
            self.method,
            self.start,
            self.measurement.ratio_range,
            tuple(1 / a for a in self.measurement.accelerations if a > 0),
        )

    @property
    def total_steps(self) -> int:
        """Optimizer steps an arm takes over the whole study at one site."""
        return self.training.rounds * self.training.local_steps

    @property
    def learning_rates(self) -> tuple[float, float]:
        """The highest rate of a step of the network, and of the sampler."""
        t, scale = self.training, self.aggregation.rate_scale
        return t.learning_rate * scale, t.policy_learning_rate * scale

    def arm(self, name: str) -> Arm:
        """The arm of that name; ``KeyError`` if the plan has none."""
        return {arm.name: arm for arm in self.arms}[name]
