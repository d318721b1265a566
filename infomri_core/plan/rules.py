"""What makes a plan impossible, rule by rule: each says what was expected and what came."""

import itertools
import math

from infomri_core.messages.precision import PRECISIONS
from infomri_core.plan.arm_rules import arm_rules
from infomri_core.plan.evaluation_rules import Rule, adversary_rules, attack_rules, noise_rules
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError
from infomri_core.system.names import STUDY_NAME, is_study_name

STRATEGIES = ("fedavg", "fedprox", "fedadam", "median", "trimmed-mean", "multi-krum")
SUMMED = ("fedavg", "fedprox", "fedadam")
"""Strategies that need the sum of the weights only: those that secure aggregation can serve."""


def check(plan: Plan, where: str) -> None:
    """Raise ``InputError`` for the first rule that does not hold."""
    for ok, key, expected, got in itertools.chain(
        _study_rules(plan),
        _measurement_rules(plan),
        _training_rules(plan),
        arm_rules(plan),
        _aggregation_rules(plan),
        _secure_rules(plan),
        _release_rules(plan),
        _privacy_rules(plan),
        attack_rules(plan),
        adversary_rules(plan),
        noise_rules(plan),
        _moments_rules(plan),
    ):
        if not ok:
            raise InputError(f"{where}: {key}", expected, str(got), "correct it in the plan")


def _study_rules(plan: Plan) -> list[Rule]:
    task, model = plan.task, plan.model
    return [
        (is_study_name(plan.study.name), "[study] name", STUDY_NAME, plan.study.name),
        (0 <= plan.study.seed < 2**32, "[study] seed", "0 .. 2^32 - 1", plan.study.seed),
        *task.rules(),
        *task.model_rules(model, plan.privacy is not None),
        (all(8 <= n <= 1024 for n in task.shape), "[task] shape", "8 .. 1024 each", task.shape),
        (4 <= model.width <= 256, "[model] width", "4 .. 256", model.width),
        (model.norm in ("group", "batch"), "[model] norm", "group or batch", model.norm),
        (
            model.input in ("zero-filled", "whitened"),
            "[model] input",
            "zero-filled or whitened",
            model.input,
        ),
        (
            model.start in ("spectral", "random"),
            "[model] start",
            "spectral or random",
            model.start,
        ),
    ]


def _measurement_rules(plan: Plan) -> list[Rule]:
    m, (low, high) = plan.measurement, plan.measurement.ratio_range
    served = all(a >= 1 and low - 1e-9 <= 1 / a <= high + 1e-9 for a in m.accelerations)
    limits = (
        f"accelerations between {1 / high:.4g} and {1 / low:.4g} (ratio_range)"
        if low and high
        else ""
    )
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


def _training_rules(plan: Plan) -> list[Rule]:
    t, e = plan.training, plan.evaluation
    band, lost = e.position_band or (0.0, 1.0), ("refuse", "continue")
    whose = ("local", "global")
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
        (t.lost_state in lost, "[training] lost_state", " or ".join(lost), t.lost_state),
        (t.momentum in whose, "[training] momentum", " or ".join(whose), t.momentum),
        (
            0 < t.deadline_seconds <= 10**7,
            "[training] deadline_seconds",
            "0 .. 10^7",
            t.deadline_seconds,
        ),
        (
            0 <= band[0] < band[1] <= 1,
            "[evaluation] position_band",
            "0 <= low < high <= 1",
            band,
        ),
        (e.attack_slices >= 1, "[evaluation] attack_slices", "at least 1", e.attack_slices),
    ]


def _release_rules(plan: Plan) -> list[Rule]:
    if plan.release is None:
        return []
    arm, acceleration = plan.release.arm, plan.release.acceleration
    names, served = [a.name for a in plan.arms], plan.measurement.accelerations
    return [
        (arm in names, "[release] arm", f"one of {', '.join(names)}", arm),
        (
            not any(a.options.of_patient for a in plan.arms if a.name == arm),
            "[release] arm",
            "an arm whose mask does not depend on what it measures: it would tell of the patient",
            arm,
        ),
        (
            acceleration in served,
            "[release] acceleration",
            f"one of {', '.join(f'{a:g}' for a in served)}",
            acceleration,
        ),
    ]


_RATE = "0 < rate <= 1, a unit's chance in each step, in place of lot / units (lot divides only)"


def _privacy_rules(plan: Plan) -> list[Rule]:
    p = plan.privacy
    if p is None:
        return []
    noise = p.noise_multiplier
    return [
        (0 < noise <= 1e6, "[privacy] noise_multiplier", "0 < noise_multiplier <= 10^6", noise),
        (0 < p.clip <= 1e6, "[privacy] clip", "0 < clip <= 10^6", p.clip),
        (0 < p.delta <= 0.01, "[privacy] delta", "0 < delta <= 0.01", p.delta),
        (0 < p.rate <= 1, "[privacy] rate", _RATE, p.rate),
        (1 <= p.lot <= 4096, "[privacy] lot", "1 .. 4096", p.lot),
        (p.unit in ("patient", "slice"), "[privacy] unit", "patient or slice", p.unit),
        (
            plan.model.norm != "batch",
            "[model] norm",
            "group with [privacy]: BatchNorm mixes patients, so no gradient is of one sample",
            plan.model.norm,
        ),
    ]


def _moments_rules(plan: Plan) -> list[Rule]:
    m = plan.moments
    if m is None:
        return []
    noise = m.noise_multiplier
    alone = plan.privacy is None
    return [
        (0 < noise <= 1e6, "[moments] noise_multiplier", "0 < noise_multiplier <= 10^6", noise),
        (0 < m.clip <= 1e6, "[moments] clip", "0 < clip <= 10^6", m.clip),
        (not alone, "[moments]", "[privacy] beside it, whose unit and delta it shares", "none"),
    ]


def _aggregation_rules(plan: Plan) -> list[Rule]:
    a, quorum, where = plan.aggregation, plan.training.quorum, "[aggregation]"
    needed = {
        "median": 3,
        "trimmed-mean": math.ceil(1 / a.trim - 1e-9) if 0 < a.trim < 0.5 else 1,
        "multi-krum": 2 * a.byzantine + 3,
    }
    enough = needed.get(a.strategy, 1)
    return [
        (a.strategy in STRATEGIES, f"{where} strategy", " | ".join(STRATEGIES), a.strategy),
        (0 < a.proximal <= 1e3, f"{where} proximal", "0 < proximal <= 1000", a.proximal),
        (
            0 < a.server_learning_rate <= 10,
            f"{where} server_learning_rate",
            "0 .. 10",
            a.server_learning_rate,
        ),
        (0 <= a.beta_1 < 1, f"{where} beta_1", "0 <= beta_1 < 1", a.beta_1),
        (0 <= a.beta_2 < 1, f"{where} beta_2", "0 <= beta_2 < 1", a.beta_2),
        (0 < a.tau <= 1, f"{where} tau", "0 < tau <= 1", a.tau),
        (0 < a.trim < 0.5, f"{where} trim", "0 < trim < 0.5", a.trim),
        (1 <= a.byzantine <= 1000, f"{where} byzantine", "1 .. 1000", a.byzantine),
        (0 < a.rate_scale <= 100, f"{where} rate_scale", "0 < rate_scale <= 100", a.rate_scale),
        (
            a.strategy != "fedadam" or plan.training.momentum == "local",
            "[training] momentum",
            "local with fedadam, whose step is not one of the sites and has a momentum of its own",
            plan.training.momentum,
        ),
        (quorum >= enough, "[training] quorum", f"at least {enough} for {a.strategy}", quorum),
        (a.precision in PRECISIONS, f"{where} precision", " | ".join(PRECISIONS), a.precision),
        (
            a.precision == "float32" or plan.model.norm == "group",
            "[model] norm",
            f"group with [aggregation] precision = '{a.precision}': rounding could make a running "
            "variance negative",
            plan.model.norm,
        ),
    ]


def _secure_rules(plan: Plan) -> list[Rule]:
    a, quorum, where = plan.aggregation, plan.training.quorum, "[aggregation]"
    if not a.secure:
        return []
    bound = "2 .. [training] quorum, or a round with no more sites could not be unmasked"
    return [
        (
            a.strategy in SUMMED,
            f"{where} strategy",
            f"{' | '.join(SUMMED)} with secure = true: a robust aggregator must see each site's "
            "weights, which secure aggregation hides",
            a.strategy,
        ),
        (
            quorum >= 3,
            "[training] quorum",
            "at least 3 with secure = true: of a sum of two, each site knows the other's part",
            quorum,
        ),
        (2 <= a.threshold <= quorum, f"{where} threshold", bound, a.threshold),
        (
            a.precision == "float32",
            f"{where} precision",
            "float32 with secure = true, whose sums are of whole numbers of 64 bits",
            a.precision,
        ),
        (
            a.degree % 2 == 0 and max(4, quorum - 1) <= a.degree <= 1000,
            f"{where} degree",
            "an even number from 4, and no fewer than quorum - 1, to 1000",
            a.degree,
        ),
    ]
