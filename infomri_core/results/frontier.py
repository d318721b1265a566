"""The privacy/utility frontier: one row an arm and acceleration, as in ``results.json``.

In the file a task's figures lie flat: ``auroc``, ``auroc_low``, ``auroc_high``, ``auroc_groups``.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infomri_core.results.arm_names import display_names, federated_name
from infomri_core.sampling.registry import is_yardstick
from infomri_core.summaries.jackknife import Estimate
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically
from infomri_core.tasks.figures import Figure, Figures, flat, from_flat
from infomri_core.tasks.registry import DEFAULT, answer_of, figures_of

FEDERATED, ALONE, CENTRAL = "federated", "alone", "central"
TRAININGS = {ALONE: "each site alone", CENTRAL: "central"}
"""In words, how arms were trained that stand beside the federated ones."""

_DERIVED = ("worst_attack", "psnr_worst", "psnr_gain", "psnr_gain_answer")
_OF_ANSWER = ("psnr_{}", "psnr_gain_{}")


@dataclass(frozen=True)
class Row:
    """What one arm at one acceleration lets a physician see, and an attacker.

    Mappings go from an attack that uses the measurement to its figure; None means undefined.

    Args:
        figures: How well the task is done, by the names of its figures.
        psnr: dB.
        psnr_groups: Groups of patients behind the intervals; with one there is none.
        legibility: First figure of a network for full images on what each attack rebuilt, and on
            the 'full image' itself.
        certified: Attacks that passed their test on the control mask; the others are weak.
        psnr_prior: The best answer that uses neither measurement nor the model's answer, dB.
        psnr_answer: The image regressed on the model's answer alone, dB; in the file called by
            what the answer is (``psnr_diagnosis``).
        gain_low: Lower end of the 95 % interval of what the strongest attack got beyond 'prior'
            and 'answer', of the difference itself: both are scored on the same images.
        linkage_same_rank1: Share of patients whom someone with ``linkage_gallery`` candidates
            finds by the very scan; ``other``: by another slice.
        epsilon: Of the study's weights, the largest of any site; None without privacy.
        training: "federated"; "alone", each site by itself, its patients judged by its own model;
            or "central", all sites' slices in one place. "alone" is not attacked.
    """

    arm: str
    sampler: str
    beta: float
    seed: int
    acceleration: float
    suppression: str = "none"
    task: str = DEFAULT
    figures: Figures = field(default_factory=dict)
    psnr: Mapping[str, float] = field(default_factory=dict)
    psnr_low: Mapping[str, float] = field(default_factory=dict)
    psnr_high: Mapping[str, float] = field(default_factory=dict)
    psnr_groups: int | None = None
    psnr_of_mean_mse: Mapping[str, float] = field(default_factory=dict)
    ssim: Mapping[str, float] = field(default_factory=dict)
    nmse: Mapping[str, float] = field(default_factory=dict)
    legibility: Mapping[str, float] = field(default_factory=dict)
    legibility_low: Mapping[str, float] = field(default_factory=dict)
    legibility_high: Mapping[str, float] = field(default_factory=dict)
    certified: tuple[str, ...] = ()
    psnr_prior: float | None = None
    psnr_answer: float | None = None
    gain_low: Mapping[str, float] = field(default_factory=dict)
    gain_high: Mapping[str, float] = field(default_factory=dict)
    redundancy: float | None = None
    linkage_same_rank1: float | None = None
    linkage_same_auc: float | None = None
    linkage_other_rank1: float | None = None
    linkage_other_auc: float | None = None
    linkage_gallery: float | None = None
    linkage_low: Mapping[str, float] = field(default_factory=dict)
    linkage_high: Mapping[str, float] = field(default_factory=dict)
    n_train: int = 0
    n_audit: int = 0
    n_patients: int = 0
    rounds: int = 0
    epsilon: float | None = None
    training: str = FEDERATED
    psnr_target: float | None = None

    @property
    def answer(self) -> str:
        """What the model tells of a slice, as a noun: a diagnosis, a segmentation."""
        return answer_of(self.task)

    @property
    def utility(self) -> Estimate:
        """The task's first figure: the utility axis."""
        return self.figure(figures_of(self.task)[0].name)

    def figure(self, name: str) -> Estimate:
        """One of the task's figures; without a value where it is undefined."""
        return self.figures.get(name, Estimate(None))

    @property
    def worst_attack(self) -> str | None:
        """The attack that rebuilds best: the worst case for privacy."""
        return max(self.psnr, key=lambda name: (self.psnr[name], name), default=None)

    @property
    def psnr_worst(self) -> float | None:
        """PSNR of the strongest attack, dB."""
        return max(self.psnr.values(), default=None)

    @property
    def psnr_gain(self) -> float | None:
        """What the measurement gave the strongest attack: ``psnr_worst - psnr_prior``, dB."""
        if self.psnr_worst is None or self.psnr_prior is None:
            return None
        return self.psnr_worst - self.psnr_prior

    @property
    def psnr_gain_answer(self) -> float | None:
        """What the strongest attack got beyond the answer: ``psnr_worst - psnr_answer``."""
        if self.psnr_worst is None or self.psnr_answer is None:
            return None
        return self.psnr_worst - self.psnr_answer

    def gain(self, beyond: str) -> Estimate:
        """What the strongest attack got beyond 'prior' or 'answer', dB, with its interval."""
        value = self.psnr_gain if beyond == "prior" else self.psnr_gain_answer
        return Estimate(value, self.gain_low.get(beyond), self.gain_high.get(beyond))


def psnr_of(row: Row, attack: str) -> float | None:
    """PSNR of one attack in dB, or of the strongest for ``attack='worst'``."""
    return row.psnr_worst if attack == "worst" else row.psnr.get(attack)


def utility_of(rows: Sequence[Row]) -> Figure:
    """The figure of the utility axis, that of the first row's task."""
    return figures_of(rows[0].task if rows else DEFAULT)[0]


def answer_in(rows: Sequence[Row]) -> str:
    """What the models of the rows tell, as a noun, by the first row's task."""
    return answer_of(rows[0].task if rows else DEFAULT)


def pareto(rows: Iterable[Row], attack: str = "worst") -> list[Row]:
    """The rows that no other row beats: utility at least as high, PSNR at least as low, one
    better.

    Rows in which either figure is undefined are left out, yardsticks, and other trainings.
    """
    points = [
        (utility, psnr, row)
        for row in rows
        if row.training == FEDERATED
        and not is_yardstick(row.sampler)
        and (utility := row.utility.value) is not None
        and (psnr := psnr_of(row, attack)) is not None
    ]
    return [
        row
        for utility, psnr, row in points
        if not any(u >= utility and p <= psnr and (u > utility or p < psnr) for u, p, _ in points)
    ]


def traces(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that belong to one curve of a plot: where there are several accelerations, an arm from
    the most points to the fewest, which is what measuring less costs and buys; else the arms of
    one sampler, suppression and seed by beta.

    Suppression ``none`` is beta = 0 of any suppression and joins the first one there is.
    """
    if len({row.acceleration for row in rows}) > 1:
        arms = dict.fromkeys(row.arm for row in rows)
        ordered = sorted(rows, key=lambda row: row.acceleration)
        return [[row for row in ordered if row.arm == arm] for arm in arms]
    curves: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.suppression == "none", row.beta)):
        key = (row.sampler, row.suppression, row.seed)
        if row.suppression == "none":
            key = next((k for k in curves if (k[0], k[2]) == (row.sampler, row.seed)), key)
        curves.setdefault(key, []).append(row)
    return [sorted(curve, key=lambda row: row.beta) for curve in curves.values()]


def marked(learned: Iterable[Row]) -> list[Row]:
    """Of the rows of learned arms in a plot those that carry a label with their beta: of each arm
    the one with the most points measured."""
    most: dict[tuple[str, float], Row] = {}
    for row in sorted(learned, key=lambda row: row.acceleration):
        most.setdefault((row.arm, row.beta), row)
    return list(most.values())


def marker_scale(acceleration: float, accelerations: Iterable[float]) -> float:
    """The diameter of a marker as a share of the largest, 0.4 to 1: it falls with the octave."""
    logs = [math.log2(a) for a in accelerations]
    span = max(logs) - min(logs)
    return 1.0 if not span else 1 - 0.6 * (math.log2(acceleration) - min(logs)) / span


def label(row: Row, rows: Iterable[Row] = ()) -> str:
    """The name for people of a row's arm, among those of its study, which ``rows`` are."""
    return labels([*rows, row])[row.arm]


def labels(rows: Iterable[Row]) -> dict[str, str]:
    """Names for people of the rows' arms, by technical name (`infomri_core.results.arm_names`).

    What was trained otherwise is called as its federated arm is, and how it was trained."""
    rows = list(rows)
    named = display_names({row.arm: row for row in rows if row.training == FEDERATED})
    for row in rows:
        if row.training != FEDERATED:
            arm = federated_name(row.arm)
            shown = named.get(arm) or display_names({arm: row})[arm]
            named[row.arm] = f"{shown}, {TRAININGS[row.training]}"
    return named


def attacks(rows: Iterable[Row]) -> list[str]:
    """Names of all attacks in the rows, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.psnr))


def write_results(path: Path, rows: Sequence[Row], meta: Mapping[str, Any]) -> None:
    """Write ``{"rows": [...], "meta": {...}}`` as JSON, atomically; undefined figures are null."""
    content = {"rows": [to_json(row) for row in rows], "meta": dict(meta)}
    text = json.dumps(_defined(content), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def read_results(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """Rows and meta of a ``results.json``. Raises ``InputError`` when it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [from_json(row) for row in content["rows"]], dict(content["meta"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            str(path), "a results.json of a study", repr(error), "check the path"
        ) from None


def to_json(row: Row) -> dict[str, Any]:
    """The row as JSON values, with the derived figures."""
    values = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    values |= flat(figures_of(row.task), values.pop("figures"))
    values |= {name: getattr(row, name) for name in _DERIVED}
    values = renamed(values, "answer", row.answer)
    # JSON has no infinity, and the beta of the image alone is not undefined.
    return _defined(values) | {"beta": row.beta if math.isfinite(row.beta) else str(row.beta)}


def from_json(values: Mapping[str, Any]) -> Row:
    """The row of :func:`to_json`; derived figures are computed again."""
    names = {f.name for f in dataclasses.fields(Row)}
    found = answers_named(values, values.get("task", DEFAULT))
    known = {name: value for name, value in found.items() if name in names}
    known["certified"] = tuple(known.get("certified", ()))
    known["beta"] = float(known.get("beta", 0.0))
    known["figures"] = from_flat(figures_of(values.get("task", DEFAULT)), values)
    return Row(**known)


def answers_named(values: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Values of a file or a store with the answer's floor under its name here. Older versions
    called it by a diagnosis, whatever the task."""
    return renamed(renamed(values, "diagnosis", "answer"), answer_of(task), "answer")


def renamed(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The values, with what stands under the answer's ``old`` name under the ``new`` one."""
    found = dict(values)
    for name in (form.format(old) for form in _OF_ANSWER if form.format(old) in values):
        found[name.removesuffix(old) + new] = found.pop(name)
    for name in ("gain_low", "gain_high"):
        if name in found:
            ends = found[name]
            found[name] = {new if key == old else key: value for key, value in ends.items()}
    return found


def _defined(value: Any) -> Any:
    """JSON has no NaN: what is not finite is undefined, hence null."""
    if isinstance(value, Mapping):
        return {str(key): _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
