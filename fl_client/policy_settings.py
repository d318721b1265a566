"""``[policy]`` of ``site.toml``: what a hospital allows, whatever a plan says."""

from dataclasses import dataclass, field
from pathlib import Path

from fl_client.must import Must

JOBS = ("enrol", "moments", "train", "adapt", "evaluate", "release")


@dataclass(frozen=True)
class Policy:
    """The site's own limits, which hold whatever a plan says.

    Args:
        min_cohort: Patients below which nothing computed from them leaves.
        min_class_cohort: Patients with and without a finding below which its histogram is empty.
        round_to: Counts leave rounded down to multiples of it.
        approvals: "listed" runs only plans whose sha256 stands in the file ``approved``; "any"
            runs every plan that the rest of the policy allows.
        approved: The file of approved plans, one a line.
        jobs: What a plan may ask for, by name.
        max_rounds: The most rounds of a plan.
        max_local_steps: The most optimizer steps of a round, and of a learned attacker.
        max_arms: The most arms of a plan.
        max_width: The largest base width of a plan's networks.
        max_inputs: Different inputs that one plan may send for the same job and round; the same
            input again is answered from the cache.
        max_job_seconds: For so long one job may compute.
        max_message_mib: The largest message that is read, in MiB.
        cached_replies: So many last replies are kept, to answer the same task again.
        consent: File of ids, one a line, of patients whose k-space may be released.
        max_released_fraction: Of a patient's positions, with conjugate partners, that may leave.
        count_days: For so long a count that left once leaves unchanged.
        max_epsilon: What all studies together may spend of the privacy of this site's patients, at
            ``max_delta``; with it, plans without ``[privacy]`` are refused.
        max_delta: The delta at which ``max_epsilon`` holds.
        max_rate: The largest sampling rate of a plan with ``[privacy]``.
        report_budget: Whether it, and what was spent of it, leave with every update.
        image_arms: Whether plans may have arms that ask for images (beta < 0).
        max_figures: Figures (counts, means, bins of histograms) that all studies together may draw
            from this site's patients in ``figure_days``.
        figure_days: After so many days a figure counts no more.
        must: What the site demands of every plan.
        plugins: Packages, ``NAME==VERSION``, whose code may run on the data here.
    """

    min_cohort: int = 5
    min_class_cohort: int = 2
    round_to: int = 5
    approvals: str = "listed"
    approved: Path = Path("approved.txt")
    jobs: tuple[str, ...] = JOBS
    max_rounds: int = 1000
    max_local_steps: int = 10_000
    max_arms: int = 32
    max_width: int = 128
    max_inputs: int = 5
    max_job_seconds: float = 24 * 3600.0
    max_message_mib: int = 2048
    cached_replies: int = 16
    consent: Path | None = None
    max_released_fraction: float = 0.1
    count_days: float = 30.0
    max_epsilon: float | None = None
    max_delta: float = 1e-5
    max_rate: float = 1.0
    report_budget: bool = field(default=False, metadata={"was": "tell_budget"})
    image_arms: bool = False
    max_figures: int = 200_000
    figure_days: float = 365.0
    must: Must = field(default_factory=Must)
    plugins: tuple[str, ...] = ()

    def coarse(self, count: int) -> int:
        """A count as it may leave: rounded down to the site's step."""
        return count - count % self.round_to
