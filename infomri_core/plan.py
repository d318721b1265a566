"""The study plan: one TOML text that says everything a study does. Its sha256 is its identity."""

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from infomri_core.config import build, parse_toml
from infomri_core.errors import InputError

Constraint = Literal["2d", "1d"]
Method = Literal["systematic", "rejection"]
Start = Literal["spectral", "random"]
SAMPLERS = ("infomri", "uniform", "variable-density")
SUPPRESSIONS = ("marginal", "none")
ATTACKS = ("lmmse", "cnn", "unet")


@dataclass(frozen=True)
class Study:
    """``seed`` is the root of every random number of the study."""

    name: str
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """Labels in order. ``exclusive``: exactly one holds per slice (CE), else each alone (BCE)."""

    labels: tuple[str, ...]
    shape: tuple[int, int]
    exclusive: bool = False


@dataclass(frozen=True)
class Measurement:
    """Noise and sampling. Ratios are fractions of k-space; acceleration = 1 / ratio."""

    noise_std: float = 0.02
    constraint: str = "2d"
    ratio_range: tuple[float, float] = (0.02, 0.16)
    accelerations: tuple[float, ...] = (16.0, 32.0)
    method: str = "systematic"


@dataclass(frozen=True)
class Model:
    """ResNet18 of base ``width``; ``norm`` is group or batch. ``start`` is the policy's."""

    width: int = 16
    norm: str = "group"
    start: str = "spectral"


@dataclass(frozen=True)
class Training:
    """``local_steps`` optimizer steps a round at each site; ``beta_warmup`` is the share of the
    whole schedule with beta at zero, followed by a linear rise of the same length."""

    rounds: int = 4
    local_steps: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    policy_learning_rate: float = 1e-2
    beta_warmup: float = 0.25
    flips: bool = False
    quorum: int = 1
    deadline_seconds: float = 3600.0


@dataclass(frozen=True)
class Evaluation:
    """What the sites score. ``position_band`` limits it to slices whose relative position lies
    inside; ``attack_slices`` bounds the slices a patient contributes to attack scores."""

    attacks: tuple[str, ...] = ATTACKS
    position_band: tuple[float, float] | None = None
    attack_slices: int = 4
    replicates: int = 200


@dataclass(frozen=True)
class Arm:
    """One sampler with one suppression strength, trained beside the others."""

    sampler: str
    beta: float = 0.0
    suppression: str = "none"
    seed: int = 0
    exponent: float = 8.0

    @property
    def name(self) -> str:
        """Identity of the arm in messages, checkpoints and MLflow."""
        parts = [self.sampler]
        if self.sampler == "variable-density":
            parts.append(f"e{self.exponent:g}")
        if self.suppression != "none":
            parts.append(f"{self.suppression}-b{self.beta:g}")
        return "-".join([*parts, f"s{self.seed}"])


@dataclass(frozen=True)
class Plan:
    """A whole study. Make one with :func:`parse_plan`; ``text`` is what was approved."""

    study: Study
    task: Task
    arms: tuple[Arm, ...]
    measurement: Measurement = field(default_factory=Measurement)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)
    text: str = field(default="", init=False, repr=False)

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
    def total_steps(self) -> int:
        """Optimizer steps an arm takes over the whole study at one site."""
        return self.training.rounds * self.training.local_steps

    def arm(self, name: str) -> Arm:
        """The arm of that name; ``KeyError`` if the plan has none."""
        return {arm.name: arm for arm in self.arms}[name]


def parse_plan(text: str, where: str = "plan.toml") -> Plan:
    """Parse and validate a plan. Raises ``InputError`` (expected, got, remedy)."""
    plan = build(Plan, parse_toml(text, where), where)
    object.__setattr__(plan, "text", text)
    _validate(plan, where)
    return plan


def read_plan(path: Path) -> Plan:
    """Read a plan file."""
    try:
        return parse_plan(path.read_text(encoding="utf-8"), path.name)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(str(path), "a plan file", "no such file", "check the path") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "UTF-8 text", "other bytes", "check the path") from None


def _validate(plan: Plan, where: str) -> None:
    for ok, key, expected, got in itertools.chain(
        _study_rules(plan), _measurement_rules(plan), _training_rules(plan), _arm_rules(plan)
    ):
        if not ok:
            raise InputError(f"{where}: {key}", expected, str(got), "correct it in the plan")


_Rule = tuple[bool, str, str, object]


def _study_rules(plan: Plan) -> list[_Rule]:
    task, model = plan.task, plan.model
    named = bool(plan.study.name) and all(c.isalnum() or c in "-_." for c in plan.study.name)
    return [
        (
            named and plan.study.name[0].isalnum() and len(plan.study.name) <= 64,
            "[study] name",
            "up to 64 letters, digits, - _ .",
            plan.study.name,
        ),
        (0 <= plan.study.seed < 2**32, "[study] seed", "0 .. 2^32 - 1", plan.study.seed),
        (len(task.labels) > 0, "[task] labels", "at least one label", task.labels),
        (len(set(task.labels)) == len(task.labels), "[task] labels", "distinct", task.labels),
        (not task.exclusive or len(task.labels) > 1, "[task] labels", "two or more", task.labels),
        (all(8 <= n <= 1024 for n in task.shape), "[task] shape", "8 .. 1024 each", task.shape),
        (4 <= model.width <= 256, "[model] width", "4 .. 256", model.width),
        (model.norm in ("group", "batch"), "[model] norm", "group or batch", model.norm),
        (
            model.start in ("spectral", "random"),
            "[model] start",
            "spectral or random",
            model.start,
        ),
    ]


def _measurement_rules(plan: Plan) -> list[_Rule]:
    m, (low, high) = plan.measurement, plan.measurement.ratio_range
    served = all(a >= 1 and low - 1e-9 <= 1 / a <= high + 1e-9 for a in m.accelerations)
    limits = f"accelerations between {1 / high:.4g} and {1 / low:.4g} (ratio_range)" if low else ""
    methods = ("systematic", "rejection")
    return [
        (0 < m.noise_std <= 10, "[measurement] noise_std", "0 < noise_std <= 10", m.noise_std),
        (m.constraint in ("2d", "1d"), "[measurement] constraint", "2d or 1d", m.constraint),
        (m.method in methods, "[measurement] method", " or ".join(methods), m.method),
        (0 < low <= high <= 1, "[measurement] ratio_range", "0 < low <= high <= 1", (low, high)),
        (
            len(set(m.accelerations)) == len(m.accelerations) > 0,
            "[measurement] accelerations",
            "one or more, distinct",
            m.accelerations,
        ),
        (served, "[measurement] accelerations", limits, m.accelerations),
    ]


def _training_rules(plan: Plan) -> list[_Rule]:
    t, e = plan.training, plan.evaluation
    band = e.position_band or (0.0, 1.0)
    return [
        (1 <= t.rounds <= 10_000, "[training] rounds", "1 .. 10000", t.rounds),
        (1 <= t.local_steps <= 10**6, "[training] local_steps", "1 .. 10^6", t.local_steps),
        (1 <= t.batch_size <= 4096, "[training] batch_size", "1 .. 4096", t.batch_size),
        (0 < t.learning_rate <= 1, "[training] learning_rate", "0 .. 1", t.learning_rate),
        (
            0 < t.policy_learning_rate <= 1,
            "[training] policy_learning_rate",
            "0 .. 1",
            t.policy_learning_rate,
        ),
        (0 <= t.beta_warmup <= 0.5, "[training] beta_warmup", "0 .. 0.5", t.beta_warmup),
        (t.quorum >= 1, "[training] quorum", "at least 1", t.quorum),
        (
            0 < t.deadline_seconds <= 10**7,
            "[training] deadline_seconds",
            "0 .. 10^7",
            t.deadline_seconds,
        ),
        (
            set(e.attacks) <= set(ATTACKS) and len(set(e.attacks)) == len(e.attacks),
            "[evaluation] attacks",
            f"distinct names out of {', '.join(ATTACKS)}",
            e.attacks,
        ),
        (
            0 <= band[0] < band[1] <= 1,
            "[evaluation] position_band",
            "0 <= low < high <= 1",
            band,
        ),
        (e.attack_slices >= 1, "[evaluation] attack_slices", "at least 1", e.attack_slices),
        (20 <= e.replicates <= 2000, "[evaluation] replicates", "20 .. 2000", e.replicates),
    ]


def _arm_rules(plan: Plan) -> list[_Rule]:
    names = [arm.name for arm in plan.arms]
    rules: list[_Rule] = [
        (1 <= len(names) <= 64, "[[arms]]", "1 .. 64 arms", len(names)),
        (len(set(names)) == len(names), "[[arms]]", "no two arms alike", sorted(names)),
    ]
    for i, arm in enumerate(plan.arms):
        learned = arm.sampler == "infomri"
        rules += [
            (arm.sampler in SAMPLERS, f"[[arms]] {i} sampler", " | ".join(SAMPLERS), arm.sampler),
            (
                arm.suppression in SUPPRESSIONS,
                f"[[arms]] {i} suppression",
                " | ".join(SUPPRESSIONS),
                arm.suppression,
            ),
            (0 <= arm.beta < 1e6, f"[[arms]] {i} beta", "beta >= 0", arm.beta),
            (
                arm.beta == 0 or (learned and arm.suppression == "marginal"),
                f"[[arms]] {i} beta",
                "beta > 0 only with sampler 'infomri' and suppression 'marginal'",
                f"{arm.sampler}, {arm.suppression}, {arm.beta}",
            ),
            (0 <= arm.seed < 2**32, f"[[arms]] {i} seed", "0 .. 2^32 - 1", arm.seed),
            (0 < arm.exponent <= 100, f"[[arms]] {i} exponent", "0 .. 100", arm.exponent),
        ]
    return rules
