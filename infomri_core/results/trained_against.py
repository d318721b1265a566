"""Which attacks a suppression was trained against: they judge its arms too mildly."""

from collections.abc import Sequence

from infomri_core.results.frontier import Row
from infomri_core.suppression.registry import SUPPRESSIONS, suppression_class

MARK = "†"


def weaker_judge(row: Row, name: str) -> bool:
    """Whether the row's sampler was trained to withstand this attack, by any party fitted."""
    return row.beta > 0 and name.partition("@")[0] in _mild(row)


def _mild(row: Row) -> tuple[str, ...]:
    """The attacks whose success the row's suppression is; of one not registered here, none."""
    known = row.suppression in SUPPRESSIONS
    return suppression_class(row.suppression).trained_against if known else ()


def sentence(rows: Sequence[Row]) -> str:
    """Who judges arms that were trained against an attack, in plain words; '' where none was."""
    marked = [row for row in rows if any(weaker_judge(row, name) for name in row.psnr)]
    if not marked:
        return ""
    names = sorted({n for row in marked for n in row.psnr if weaker_judge(row, n)})
    said = (
        f"{MARK} the arm's suppression was trained against this attack ({', '.join(names)}), "
        "which makes it too lenient a judge"
    )
    alone = [row for row in marked if not _others(row)]
    if alone:
        return (
            f"{said}; no other attack that passed its test was fitted, so its figure is no "
            "evidence of privacy."
        )
    return f"{said}: attacks fitted afterwards decide."


def _others(row: Row) -> list[str]:
    """Attacks that passed their test and that the arm was not trained against."""
    return [name for name in row.psnr if name in row.certified and not weaker_judge(row, name)]
