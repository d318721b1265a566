"""What a task costs this site's patients."""

from dataclasses import dataclass
from typing import final

from infomri_core.dp.accounting import Mechanism


@final
@dataclass(frozen=True)
class Cost:
    """What answering a task costs this site's patients. ``epsilon``: the mechanism that runs on
    them, None without noise; ``inputs``: 1 where the answer depends on what was sent and on
    them, else 0; ``figures``: the most numbers that describe patients in the answer. Weights,
    moments and k-space are no figures: epsilon, or the consent of each patient, limits them.
    ``once``: a study may ask one input only, as its epsilon is for all that the answer says."""

    epsilon: Mechanism | None
    inputs: int
    figures: int
    once: bool = False

    @property
    def free(self) -> bool:
        """Whether no patient is asked about."""
        return self.epsilon is None and self.inputs == 0 and self.figures == 0
