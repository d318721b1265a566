"""What MLflow's page of a study says first: the verdict, the frontier's picture, the arms.

MLflow folds a description to its first lines, so the verdict comes before the picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_core.plan.plan import Plan
from infomri_core.report.verdict import verdict
from infomri_core.results.frontier import Row, labels, utility_of
from infomri_core.results.measuring_less import sentence

MOST = 7000
"""Characters; MLflow refuses a description beyond 8,000."""
_ARTIFACT = "get-artifact?path={}&run_uuid={{run_id}}"


def study_page(plan: Plan, rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    """Markdown in which ``{run_id}`` stands for the id of the study's run. Arms that do not fit
    into :data:`MOST` characters are counted, and left to the report."""
    picture, report = _ARTIFACT.format("frontier.png"), _ARTIFACT.format("privacy-report.html")
    found = verdict(rows, meta)
    lines = [f"**{found.headline}**", ""]
    if rival := sentence(rows, meta):
        lines += [rival, ""]
    lines += [
        f"![Frontier]({picture})",
        "",
        f"[Privacy report]({report}). Plan `{plan.digest}`.",
        "",
    ]
    figure = utility_of(rows)
    lines += [
        f"| arm | acceleration | {figure.title} | strongest attack, dB | floor, dB | linkage |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    names, used = labels(rows), sum(map(len, lines))
    for n, row in enumerate(rows):
        line = _line(names.get(row.arm, row.arm), row)
        used += len(line) + 1
        if used > MOST:
            lines += ["", f"{len(rows) - n} more rows: see the report."]
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _line(name: str, row: Row) -> str:
    figure, utility = utility_of([row]), row.utility
    value = "-" if utility.value is None else figure.form(utility.value)
    if utility.value is not None and utility.low is not None and utility.high is not None:
        value += f" ({figure.span(utility.low, utility.high)})"
    attack = "-" if row.psnr_worst is None else f"{row.psnr_worst:.1f}"
    floor = "-" if row.psnr_answer is None else f"{row.psnr_answer:.1f}"
    linked = "-" if row.linkage_same_rank1 is None else f"{row.linkage_same_rank1:.0%}"
    cells = (name.replace("|", "/"), f"{row.acceleration:g}x", value, attack, floor, linked)
    return f"| {' | '.join(cells)} |"
