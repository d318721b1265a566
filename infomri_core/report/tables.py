"""The tables of the privacy report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infomri_core.plan.adversary_knowledge import KNOWLEDGE, base_name, knowledge
from infomri_core.report.html import Cell, table
from infomri_core.results import trained_against
from infomri_core.results.frontier import Row, answer_in, label, utility_of
from infomri_core.results.frontier import attacks as attack_names
from infomri_core.results.measuring_less import comparisons
from infomri_core.results.trained_against import MARK, weaker_judge
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.figures import Figure

WEAK = "weak"
TRAINED_BY = {
    "public": "on the study centre's audit patients",
    "insider": "further by the other sites of the study, never by the one it attacks",
    "same-site": "on training patients of the very site, inside its vault: an upper bound",
}


def frontier(rows: Sequence[Row]) -> str:
    """One line an arm and acceleration: utility, strongest attack, floors, gains."""
    headers = [
        "Arm",
        "Acceleration",
        f"{utility_of(rows).title} (95 %)",
        "Strongest attack",
        "PSNR, dB (95 %)",
        "Nothing measured",
        "Gain",
        f"{answer_in(rows).capitalize()} alone",
        "Gain",
    ]
    caption = "PSNR in dB; lower is more private. Gain: the strongest attack beyond that floor."
    return table(headers, [_frontier_line(row, rows) for row in rows], caption)


def attacks(rows: Sequence[Row]) -> str:
    """One line an arm, acceleration and attack: PSNR, SSIM, NMSE and legibility of lesions."""
    headers = ["Arm", "Acceleration", "Attack", "PSNR, dB (95 %)", "SSIM", "NMSE"]
    legible, figure = any(row.legibility for row in rows), utility_of(rows)
    if legible:
        headers.append(f"Findings legible ({figure.title})")
    lines = [
        _attack_line(row, name, rows, legible)
        for row in rows
        for name in attack_names(rows)
        if name in row.psnr
    ]
    caption = (
        "Attacks marked 'weak' failed their own test: their low PSNR is not evidence of privacy."
    )
    caption += " " * bool(mild := trained_against.sentence(rows)) + mild.removeprefix(f"{MARK} ")
    if legible:
        caption += (
            f" Findings legible: {figure.title} of a network trained on full images, applied to "
            "what the attack rebuilt, and in brackets to the full images themselves."
        )
    return table(headers, lines, caption)


def adversaries_by_knowledge(rows: Sequence[Row]) -> str:
    """One line a strength of adversary: how far its best attack gets; '' where one was tried."""
    names = attack_names(rows)
    if len({knowledge(name) for name in names}) < 2:
        return ""
    lines = []
    for kind in KNOWLEDGE:
        found = [
            (row.psnr[name], name, row)
            for row in rows
            for name in row.psnr
            if knowledge(name) == kind
        ]
        if not found:
            continue
        psnr, name, row = max(found, key=lambda item: item[:2])
        floor = row.psnr_answer
        lines.append(
            [
                Cell(kind),
                Cell(TRAINED_BY[kind]),
                Cell(base_name(name)),
                Cell(f"{label(row, rows)}, {row.acceleration:g}x"),
                _number(psnr, "{:.1f}".format),
                _number(None if floor is None else psnr - floor, "{:+.1f}".format),
            ]
        )
    headers = ["Adversary", "Its attack was trained", "Strongest", "Against", "PSNR, dB"]
    caption = "Where each strength of adversary gets furthest. The strongest of all counts."
    return table([*headers, f"Beyond the {answer_in(rows)}, dB"], lines, caption)


def certificates(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What each attacker did on the control mask; one that failed is marked as weak."""
    lines = []
    for name, values in found.items():
        passed = bool(values.get("passed"))
        converged = values.get("converged")
        curve = [f"{n}: {float(psnr):.1f}" for n, psnr in values.get("size_curve") or ()]
        lines.append(
            [
                Cell(name),
                _number(values.get("psnr"), "{:.1f}".format),
                _number(values.get("psnr_lmmse"), "{:.1f}".format),
                _number(values.get("last_gain"), "{:+.2f}".format),
                Cell("" if converged is None else "yes" if converged else "no"),
                Cell(", ".join(curve)),
                Cell("passed") if passed else Cell("weak: proves nothing", style="weak"),
            ]
        )
    headers = ["Attack", "PSNR, dB", "LMMSE, dB", "Gain of last tenth, dB", "Converged"]
    headers += ["PSNR by audit images", "Test"]
    caption = (
        "On audit patients held out, under a control mask that can be rebuilt (4x). An attack "
        "passes within 0.5 dB of LMMSE, once its last tenth of training brings less than 0.1 dB."
    )
    return table(headers, lines, caption)


def measuring_less(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    """One line a suppressed arm and acceleration that beta = 0 equals somewhere; '' without."""
    lines = []
    for found in comparisons(rows, meta):
        less, more = (f"{row.acceleration:g}x" for row in found.between)
        lines.append(
            [
                *_place(found.row, rows),
                _number(found.row.utility.value, utility_of([found.row]).form),
                _number(found.row.psnr_worst, "{:.1f}".format),
                Cell(f"{less}, the fewest points tried" if found.bound else f"{more} to {less}"),
                _interval(found.gain.value, found.gain.low, found.gain.high, "{:+.1f}".format),
                Cell(f"at most; {found.how}" if found.bound else found.how),
            ]
        )
    headers = ["Arm", "Acceleration", utility_of(rows).title, "Strongest attack, dB"]
    headers += ["beta = 0 does as well at", "Suppression gains, dB (95 %)", "Interval"]
    caption = (
        "Gain: how far the strongest attack lies below that on beta = 0, on the line between its "
        "best accelerations, where the task is done as well. Below zero, measuring less is better."
    )
    return table(headers, lines, caption)


def differences(found: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    """One line for two arms, or one arm at two accelerations: second less first, with the 95 %
    interval; '' where nothing is stored of it."""
    headers = [
        "First",
        "Second",
        f"{figure.title}, change (95 %)",
        "Strongest attack, dB (95 %)",
        "Interval",
    ]
    lines = []
    for item in found:
        utility, psnr = item.get(figure.name) or {}, item.get("psnr") or {}
        lines.append(
            [
                *(Cell(f"{item[k][0]} at {float(item[k][1]):g}x") for k in ("first", "second")),
                _changed(utility, figure.change),
                _changed(psnr, "{:+.1f}".format),
                Cell(str(item.get("how", ""))),
            ]
        )
    return table(headers, lines) if lines else ""


def _changed(ends: Mapping[str, Any], form: Callable[[float], str]) -> Cell:
    return _interval(ends.get("value"), ends.get("low"), ends.get("high"), form)


def sites(found: Sequence[Mapping[str, Any]], figure: Figure) -> str:
    """One line a site, arm and acceleration; sites below their minimum cohort send nothing."""
    headers = [
        "Site",
        "Patients",
        "Arm",
        "Acceleration",
        f"{figure.title} (95 %)",
        "Strongest attack",
        "PSNR, dB",
    ]
    lines = []
    for item in found:
        psnr = {str(k): float(v) for k, v in (item.get("psnr") or {}).items()}
        strongest = max(psnr, key=lambda name: psnr[name], default="")
        lines.append(
            [
                Cell(str(item.get("site", ""))),
                Cell(str(item.get("n_patients", "")), style="n"),
                Cell(str(item.get("arm", ""))),
                _number(item.get("acceleration"), "{:g}x".format),
                _interval(*_own(item, figure), figure.form),
                Cell(strongest),
                _number(psnr.get(strongest), "{:.1f}".format),
            ]
        )
    return table(headers, lines)


def linkage(rows: Sequence[Row]) -> str:
    """How often a measurement is matched to its patient; '' where no one tried."""
    headers = ["Arm", "Acceleration", "Same scan: rank 1", "AUC", "Another slice: rank 1", "AUC"]
    headers.append("Candidates")
    lines = []
    for row in rows:
        figures = [_linked(row, kind, f) for kind in ("same", "other") for f in ("rank1", "auc")]
        if any(cell.text != "-" for cell in figures):
            gallery = _number(row.linkage_gallery, "{:.0f}".format)
            lines.append([*_place(row, rows), *figures, gallery])
    return table(
        headers, lines, "With 95 % intervals by patient. Guessing: rank 1 = 1/candidates."
    )


def _linked(row: Row, kind: str, figure: str) -> Cell:
    name = f"{kind}_{figure}"
    low, high = row.linkage_low.get(name), row.linkage_high.get(name)
    form = "{:.0%}".format if figure == "rank1" else "{:.2f}".format
    return _interval(getattr(row, f"linkage_{name}"), low, high, form)


def _frontier_line(row: Row, rows: Sequence[Row]) -> list[Cell]:
    best = row.worst_attack or ""
    weak = bool(best) and best not in row.certified
    low, high = row.psnr_low.get(best), row.psnr_high.get(best)
    return [
        *_place(row, rows),
        _interval(*_ends(row.utility), utility_of([row]).form),
        Cell(best or "none", WEAK if weak else "", WEAK if weak else ""),
        _interval(row.psnr_worst, low, high, "{:.1f}".format),
        _number(row.psnr_prior, "{:.1f}".format),
        _interval(*_ends(row.gain("prior")), "{:+.1f}".format),
        _number(row.psnr_answer, "{:.1f}".format),
        _interval(*_ends(row.gain("answer")), "{:+.1f}".format),
    ]


def _attack_line(row: Row, name: str, rows: Sequence[Row], legible: bool) -> list[Cell]:
    weak = WEAK if name not in row.certified else ""
    against = "trained against" if weaker_judge(row, name) else ""
    cells = [
        *_place(row, rows),
        Cell(
            name, ", ".join(note for note in (weak, against) if note), WEAK * bool(weak or against)
        ),
        _interval(
            row.psnr[name], row.psnr_low.get(name), row.psnr_high.get(name), "{:.1f}".format
        ),
        _number(row.ssim.get(name), "{:.3f}".format),
        _number(row.nmse.get(name), "{:.3f}".format),
    ]
    if legible:
        cells.append(_legible(row, name, utility_of([row])))
    return cells


def _legible(row: Row, name: str, figure: Figure) -> Cell:
    full = row.legibility.get("full image")
    note = "" if full is None else f"({figure.form(full)})"
    return Cell(_number(row.legibility.get(name), figure.form).text, note, "n")


def _own(item: Mapping[str, Any], figure: Figure) -> tuple[Any, Any, Any]:
    name = figure.name
    return item.get(name), item.get(f"{name}_low"), item.get(f"{name}_high")


def _ends(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.low, found.high


def _place(row: Row, rows: Sequence[Row]) -> tuple[Cell, Cell]:
    return Cell(label(row, rows)), _number(row.acceleration, "{:g}x".format)


def _number(value: Any, form: Callable[[float], str]) -> Cell:
    return Cell("-" if value is None else form(float(value)), style="n")


def _interval(value: Any, low: Any, high: Any, form: Callable[[float], str]) -> Cell:
    note = "" if low is None or high is None else f"{form(float(low))} to {form(float(high))}"
    return Cell(_number(value, form).text, note, "n")
