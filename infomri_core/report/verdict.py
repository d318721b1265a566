"""The audit's verdict in plain language: the first thing a privacy officer reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from infomri_core.plan.adversary_knowledge import described
from infomri_core.report.mask_linkage import mask_sentence
from infomri_core.results import measuring_less, trained_against
from infomri_core.results.frontier import FEDERATED, Row, label, utility_of
from infomri_core.results.operating_point import linkage_sentence, linked, operating_point

NEGLIGIBLE_DB = 0.2
"""Twice the step to which sites round PSNR: a smaller gain cannot be told from none."""

State = Literal["void", "asks", "beyond", "within"]


@dataclass(frozen=True)
class Verdict:
    """What may be concluded of the operating point, where there is one.

    Args:
        state: ``void``: nothing. ``asks``: the arm was trained to rebuild images. ``beyond``: the
            strongest attack rebuilds more than the model's answer gives away, or linkage finds
            patients. ``within``: no attack that was tried did.
        headline: One sentence.
        sentences: The evidence, in words.
    """

    state: State
    headline: str
    sentences: tuple[str, ...]


def verdict(rows: Sequence[Row], meta: Mapping[str, Any]) -> Verdict:
    """What one audit lets anyone conclude.

    Args:
        rows: Of the frontier.
        meta: Of the same ``results.json``.
    """
    why = void_because(rows, meta)
    if why:
        return Verdict(
            "void",
            "This audit is void: it shows nothing about privacy.",
            (
                why,
                "The figures below are printed for the record. A low figure in them means that "
                "the attacker was weak, not that the measurement is private. Repeat the audit "
                "with stronger attackers: more training steps, or more audit patients.",
            ),
        )
    judged = [r for r in rows if r.training == FEDERATED and _gained(r) is not None]
    point = operating_point(judged) or max(judged, key=_gain)
    mask = mask_sentence(point, meta)
    if point.beta < 0:
        asks = _asks(point, rows)
        return replace(asks, sentences=(*asks.sentences, mask)) if mask else asks
    little = _gain(point) <= NEGLIGIBLE_DB
    found = _within(point, rows) if little else _beyond(point, judged, rows)
    mild = trained_against.sentence([point]).removeprefix(f"{trained_against.MARK} ")
    more = (mask, mild[:1].upper() + mild[1:], measuring_less.sentence(rows, meta))
    return replace(found, sentences=(*found.sentences, *(text for text in more if text)))


def _asks(point: Row, rows: Sequence[Row]) -> Verdict:
    """Of an arm that was trained to rebuild images: it is no failure that attackers do, too."""
    asking = sorted({label(row, rows) for row in rows if row.beta < 0})
    return Verdict(
        "asks",
        "This study asks for images: its arms are trained to rebuild them",
        (
            f"These arms were trained to rebuild images (beta below zero): {', '.join(asking)}. "
            "Whoever holds a measurement of theirs, with its mask and the model, has an image of "
            "the patient; nothing below says that such a measurement is private.",
            f"{_place(point, rows)[0].upper()}{_place(point, rows)[1:]}"
            f"{_utility(point, ' has')}. The strongest of the other attackers, "
            f"{_attacker(point)}, rebuilt images at {point.psnr_worst:.1f} dB"
            f"{_interval(point)}, where {_known(point)} alone allows {_floor(point):.1f} dB.",
            linkage_sentence(point),
            "What protects patients in such a study is that measurements stay at the sites, and "
            "what the plan says of weights and scores; the sampling mask does not.",
        ),
    )


def void_because(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    """Why nothing can be concluded from ``rows``, or ''."""
    if not any(_gained(row) is not None for row in rows):
        return "No attack was scored against a floor, so there is nothing to judge."
    stated = meta.get("audit_void")
    if stated:
        return stated if isinstance(stated, str) else _WEAK
    weak = [row for row in rows if row.worst_attack and row.worst_attack not in row.certified]
    return _WEAK if stated is None and weak else ""


_WEAK = (
    "The strongest attacker failed its own test: on a control mask from which images can be "
    "rebuilt it did not rebuild them as well as the reference."
)


def _within(point: Row, rows: Sequence[Row]) -> Verdict:
    floor, known = _floor(point), _known(point)
    sentences = (
        f"The strongest of them, {_attacker(point)}, against {_place(point, rows)}, "
        f"rebuilt images at {point.psnr_worst:.1f} dB; {known} alone allows "
        f"{floor:.1f} dB. The difference, {_gain(point):+.1f} dB{gain_interval(point)}, is below "
        f"the {NEGLIGIBLE_DB:g} dB that this audit can tell from nothing{_not_excluded(point)}.",
        linkage_sentence(point),
        "This is evidence, not proof: it holds for these attackers, trained on "
        f"{point.n_audit} slices. A better attacker, or one with more data, may do more.",
    )
    headline = f"No attacker that was tried rebuilt more of the image than {known} gives away"
    if linked(point):
        return Verdict("beyond", f"{headline}, but {_found(point)}.", sentences)
    return Verdict("within", f"{headline}.", sentences)


def _beyond(point: Row, judged: Sequence[Row], rows: Sequence[Row]) -> Verdict:
    floor, known = _floor(point), _known(point)
    detects = _utility(point, ", which has")
    sentences = [
        f"Against {_place(point, rows)}{detects}, the attacker {_attacker(point)} rebuilt "
        f"images at {point.psnr_worst:.1f} dB{_interval(point)}, where {known} alone allows "
        f"{floor:.1f} dB: its mean error is {10 ** (_gain(point) / 10):.1f} times smaller than "
        f"that of someone who had only {known}.",
        linkage_sentence(point),
    ]
    most = max(judged, key=_gain)
    least = min(judged, key=lambda row: (_gain(row), -(row.utility.value or 0.0)))
    for what, row in (("most", most), ("least", least)):
        if row is not point:
            told = _utility(row, ", at")
            beyond = f"{_gain(row):+.1f} dB{gain_interval(row)} beyond {_known(row)}"
            sentences.append(
                f"The attacker gained {what} against {_place(row, rows)}: {beyond}{told}."
            )
    sentences.append(
        "PSNR is a mean over pixels and patients. It does not say whether a face, a lesion or a "
        "name could be recognised, nor what happens to the worst-off patient, who is listed only "
        "in each site's own report."
    )
    headline = (
        f"The strongest attacker learned more about the image than {known} gives away: "
        f"{_gain(point):+.1f}\N{NO-BREAK SPACE}dB{gain_interval(point)}"
    )
    also = f", and {_found(point)}." if linked(point) else "."
    return Verdict("beyond", headline + also, tuple(sentences))


def _found(row: Row) -> str:
    share = row.linkage_same_rank1 or 0.0
    return f"linkage finds {'every patient' if share >= 0.995 else f'{share:.0%} of the patients'}"


def _utility(row: Row, before: str) -> str:
    """How well the task is done, after ``before``; '' where it is undefined."""
    figure, value = utility_of([row]), row.utility.value
    return "" if value is None else f"{before} {figure.title} {figure.form(value)}"


def _gained(row: Row) -> float | None:
    """What the strongest attack got beyond the model's answer; where none is known, beyond
    the best answer without a measurement."""
    return row.psnr_gain if row.psnr_answer is None else row.psnr_gain_answer


def gain_interval(row: Row) -> str:
    """The 95 % interval of what the strongest attack gained, in brackets; '' where none is
    known."""
    gain = row.gain(_beyond_what(row))
    if gain.low is None or gain.high is None:
        return ""
    return f" (95 %: {gain.low:+.1f} to {gain.high:+.1f})"


def _not_excluded(row: Row) -> str:
    """That more patients could show a gain, where the interval reaches so far."""
    high = row.gain(_beyond_what(row)).high
    if high is None or high <= NEGLIGIBLE_DB:
        return ""
    return f"; with so few patients, or so much noise, {high:+.1f} dB is not excluded"


def _beyond_what(row: Row) -> str:
    return "prior" if row.psnr_answer is None else "answer"


def _gain(row: Row) -> float:
    return _gained(row) or 0.0


def _floor(row: Row) -> float:
    return (row.psnr_prior if row.psnr_answer is None else row.psnr_answer) or 0.0


def _known(row: Row) -> str:
    """What someone at the floor has."""
    return "a stranger's mean image" if row.psnr_answer is None else f"the {row.answer}"


def _attacker(row: Row) -> str:
    return described(row.worst_attack or "")


def _place(row: Row, rows: Sequence[Row]) -> str:
    return f"the arm '{label(row, rows)}' at acceleration {row.acceleration:g}x"


def _interval(row: Row) -> str:
    low = row.psnr_low.get(row.worst_attack or "")
    high = row.psnr_high.get(row.worst_attack or "")
    return "" if low is None or high is None else f" (95 % interval {low:.1f} to {high:.1f})"
