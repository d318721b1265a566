"""Colours of the samplers in every figure: Okabe and Ito's, told apart by the colour-blind."""

from typing import NamedTuple


class Style(NamedTuple):
    """How a sampler is drawn: a hex colour, and its name in a legend."""

    colour: str
    name: str


GREY = "#555555"
_STYLES = {
    "infomri": Style("#0072B2", "InfoMRI (learned mask)"),
    "variable-density": Style("#D55E00", "variable density"),
    "uniform": Style("#009E73", "uniform"),
}


def style_of(sampler: str) -> Style:
    """The sampler's style; samplers that have none of their own share one colour."""
    return _STYLES.get(sampler, Style("#CC79A7", sampler))
