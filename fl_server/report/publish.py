"""Everything a reader gets from one audit: results, figures and the privacy report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fl_server.audit.examples import Examples
from fl_server.report import audit_figures, frontier_figure
from infomri_core.report.report import write_report
from infomri_core.results.frontier import Row, write_results

_FRONTIER = (
    "How well the task is done against what the strongest attacker rebuilds (PSNR), with 95 % "
    "intervals. "
    "The lines are what can be answered with nothing measured, and from the model's answer alone."
)
_EXAMPLES = (
    "What each attacker rebuilds from one measurement. These are patients of the study centre's "
    "own audit set, on whom no attacker was fitted; no hospital's image is shown."
)
_SIZES = "Each attacker against the size of the audit set: one that still gains needs more data."
_CONVERGENCE = "How the learned attackers converged. A curve that still rises is a weak attacker."


@final
@dataclass(frozen=True)
class Published:
    """The files of one audit; ``suffix`` tells those of a repeated audit from the study's."""

    directory: Path
    suffix: str = ""

    @property
    def results(self) -> Path:
        """Rows and meta as JSON."""
        return self.directory / f"results{self.suffix}.json"

    @property
    def report(self) -> Path:
        """The privacy report."""
        return self.directory / f"privacy-report{self.suffix}.html"

    def write(
        self, rows: Sequence[Row], meta: Mapping[str, Any], shown: Examples | None
    ) -> list[Path]:
        """Write all files and return their paths; figures with nothing to show are left out."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_results(self.results, rows, meta)
        drawn = {_FRONTIER: frontier_figure.frontier(rows, self._figure("frontier"))}
        if shown is not None:
            drawn[_EXAMPLES] = audit_figures.examples(shown, self._figure("examples"))
        histories = meta.get("attack_histories") or {}
        drawn[_CONVERGENCE] = audit_figures.convergence(histories, self._figure("convergence"))
        certificates = meta.get("certificates") or {}
        drawn[_SIZES] = audit_figures.size_curves(certificates, self._figure("audit-size"))
        pictures = {caption: paths[0] for caption, paths in drawn.items() if paths}
        write_report(self.report, rows, meta, pictures)
        return [self.results, self.report, *(path for paths in drawn.values() for path in paths)]

    def _figure(self, name: str) -> Path:
        return self.directory / f"{name}{self.suffix}"
