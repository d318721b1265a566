"""The privacy officer's page: what was asked, where it would be used, what it gives away, who
signs. The evidence follows it."""

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_core.dp.outside_epsilon import EXACT_SCORES
from infomri_core.plan.adversary_knowledge import described
from infomri_core.report import html as h
from infomri_core.report.verdict import Verdict
from infomri_core.results import measuring_less
from infomri_core.results.frontier import Row, answer_in, label, utility_of
from infomri_core.results.operating_point import RULE, guessing, operating_point
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.registry import task_class

_TAGS = {
    "void": "Verdict: audit void",
    "asks": "Verdict: asks for images",
    "beyond": "Verdict: more than the {answer}",
    "within": "Verdict: nothing found beyond the {answer}",
}
_NOT_PROTECTED = (
    "Released k-space without calibrated noise has no differential privacy guarantee: the figures "
    "are what these attackers achieved, not a bound.",
    "The sampling mask does not protect the weights of the model.",
    "Means hide single patients: the worst-off patient is listed only in each site's own report.",
)


def first_page(found: Verdict, rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    """One page, in plain words: the verdict, the figures of the operating point, a sign-off."""
    point, tag = operating_point(rows), _TAGS[found.state].format(answer=answer_in(rows))
    parts = [
        f'<div class="verdict {found.state}"><span class="tag">{tag}</span>',
        f"<h2>{h.escape(found.headline)}</h2></div>",
        h.heading("What was asked"),
        h.facts(_asked(rows, meta)),
    ]
    if point is not None:
        parts += [
            h.heading(f"The operating point: {_named(point, rows)}"),
            h.paragraphs([f"Chosen by rule: {RULE}."]),
            h.facts(_figures(point, meta)),
        ]
    rival = measuring_less.sentence(rows, meta)
    if rival:
        parts += [h.heading("Suppression against measuring less"), h.paragraphs([rival])]
    parts += [h.heading("What is not protected"), h.bullets(_not_protected(meta))]
    parts += [h.heading("Sign-off"), _SIGN_OFF]
    return f'<div class="first">{"".join(parts)}</div>'


def in_words(found: Verdict) -> str:
    """The verdict's sentences, which open the evidence."""
    return h.section("The verdict in words", h.paragraphs(found.sentences))


_SIGN_OFF = (
    '<table class="sign"><tbody>'
    + "".join(
        f'<tr><td class="key">{who}</td><td></td></tr>'
        for who in (
            "Read by (name, role)",
            "Decision (approve, decline, ask)",
            "Reason",
            "Date, signature",
        )
    )
    + "</tbody></table>"
)


def _named(point: Row, rows: Sequence[Row]) -> str:
    return f"{label(point, rows)} at acceleration {point.acceleration:g}x"


def _does(meta: Mapping[str, Any]) -> str:
    """What its models do, in the task's words; results of older versions have labels only."""
    found = h.plain(list(meta.get("labels") or [])) or "findings"
    return str(meta.get("task_does") or f"trains a classifier for: {found}")


def _asked(rows: Sequence[Row], meta: Mapping[str, Any]) -> dict[str, object]:
    sites = meta.get("sites") or {}
    scored = meta.get("scored_on") or ", ".join(f"{k} ({n} patients)" for k, n in sites.items())
    return {
        "May this be used": (
            f"a study that {_does(meta)}, from sampled k-space; "
            f"{len({row.arm for row in rows})} arms were compared"
        ),
        "Study": meta.get("study", ""),
        "Plan sha256": meta.get("plan_sha256", ""),
        "Scored on": scored,
        "Caution": meta.get("caution", ""),
    }


def _figures(point: Row, meta: Mapping[str, Any]) -> dict[str, str]:
    return {
        "How well the task is done": _utility(point),
        "Strongest attack": _attack(point),
        "... against having measured nothing": _above(point.gain("prior"), point.psnr_prior),
        f"... against knowing the {point.answer} alone": _above(
            point.gain("answer"), point.psnr_answer
        ),
        "Linkage with candidate scans": _linkage(point),
        "Lesions in rebuilt images": _lesions(point),
        "Epsilon of the weights": _epsilon(meta),
        "Epsilon of the scores": _scores(meta),
    }


def _attack(point: Row) -> str:
    name = point.worst_attack or ""
    weak = (
        "" if name in point.certified else "; it failed its own test: it may understate the risk"
    )
    psnr = _with_interval("PSNR", point.psnr_worst, *_ends(point, name), form="{:.1f}", unit=" dB")
    return f"{described(name)}: {psnr}{weak}"


def _ends(point: Row, name: str) -> tuple[float | None, float | None]:
    return point.psnr_low.get(name), point.psnr_high.get(name)


def _above(gain: Estimate, floor: float | None) -> str:
    if gain.value is None:
        return "not known"
    ends = "" if gain.low is None else f", 95 %: {gain.low:+.1f} to {gain.high:+.1f}"
    return f"{gain.value:+.1f} dB{ends} (that floor is {floor:.1f} dB)"


def _linkage(point: Row) -> str:
    share, candidates = point.linkage_same_rank1, point.linkage_gallery
    if share is None or not candidates:
        return "not measured"
    other = point.linkage_other_rank1
    also = "" if other is None else f", {other:.0%} by another slice of the same patient"
    guess = f"guessing: {1 / candidates:.0%}"
    return f"{share:.0%} of patients are found among {candidates:.0f} scans{also} ({guess})"


def _utility(point: Row) -> str:
    figure, found = utility_of([point]), point.utility
    form = f"{{:.{figure.digits}f}}"
    ends = (found.value, found.low, found.high)
    told = "; not distinguishable from guessing" if guessing(point) else ""
    return _with_interval(figure.title, *ends, form, figure.unit) + told


def _lesions(point: Row) -> str:
    full = point.legibility.get("full image")
    rebuilt = {k: v for k, v in point.legibility.items() if k != "full image"}
    if not rebuilt:
        return "not measured" if task_class(point.task).readable else ""
    name = max(rebuilt, key=lambda n: rebuilt[n])
    beside = "" if full is None else f"; in full images {full:.3f}"
    figure = utility_of([point])
    found = f"{figure.title} {figure.form(rebuilt[name])} in those of '{name}'"
    return f"{found}{beside} ({figure.scale})"


def _epsilon(meta: Mapping[str, Any]) -> str:
    if "privacy" not in meta:
        return "not known"
    privacy = meta["privacy"]
    if not privacy:
        return "none: nothing bounds what the weights reveal of a training patient"
    epsilon = privacy.get("epsilon")
    size = "not known" if epsilon is None else f"{float(epsilon):.2f}"
    return f"{size} at delta {float(privacy['delta']):g}, for one {privacy['unit']}"


def _scores(meta: Mapping[str, Any]) -> str:
    rules = meta.get("evaluation_noise")
    if rules:
        return f"{float(rules['epsilon']):g} at delta {float(rules['delta']):g}, for one patient"
    return "none: scores left without noise" if "evaluation_noise" in meta else "not known"


def _not_protected(meta: Mapping[str, Any]) -> list[str]:
    exact = "evaluation_noise" in meta and not meta["evaluation_noise"]
    return [*_NOT_PROTECTED, *([EXACT_SCORES] if exact else [])]


def _with_interval(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    form: str = "{:.3f}",
    unit: str = "",
) -> str:
    if value is None:
        return f"{name} undefined"
    around = ""
    if low is not None and high is not None:
        around = f" (95 % interval {form.format(low)} to {form.format(high)})"
    return f"{name} {form.format(value)}{unit}{around}"
