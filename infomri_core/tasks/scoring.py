"""How a task is scored: what is known of a slice, and the two ways in which sums of it leave a
site."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from infomri_core.data.base import SliceTable
from infomri_core.summaries.cohorts import Limits
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.figures import Figures
from infomri_core.tasks.values import Family

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Scoring(ABC):
    """The part of a task that turns outputs and targets into figures, over all sites."""

    @property
    @abstractmethod
    def n_evidence(self) -> int:
        """How many numbers :meth:`evidence` has of a slice."""

    @abstractmethod
    def evidence(self, output: Tensor, targets: Tensor) -> Tensor:
        """All that scoring needs of each slice, as numbers (B, F). Finite, whatever the network
        gives: an error would tell who chose the weights that one patient's image made them
        overflow.

        Args:
            output: What the task's ``output`` gave for B slices.
            targets: Their targets (B, ...).
        """

    @abstractmethod
    def summarise(self, evidence: Floats, slots: Ints) -> Summary:
        """Exact sums of the evidence over groups of patients.

        Args:
            evidence: Of each slice (n, F), from :meth:`evidence`.
            slots: The group of each slice (n,).
        """

    @abstractmethod
    def summary_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of a summary's arrays after the axis of groups, by name."""

    @abstractmethod
    def released(self, found: Any, table: SliceTable, slots: Ints, limits: Limits) -> Summary:
        """A summary as it may leave a site: of groups large enough.

        Args:
            found: The summary, from :meth:`summarise`.
            table: The n slices that it is of.
            slots: The group of each slice (n,).
            limits: The site's own, below which nothing leaves.

        Raises:
            ValueError: It is not a summary of these slices.
        """

    @abstractmethod
    def estimates(self, found: Any) -> Figures:
        """The task's figures from a summary."""

    @abstractmethod
    def difference(self, first: Any, second: Any) -> Estimate:
        """How the first figure differs between two summaries, with its paired interval.

        Args:
            first: The summary that is subtracted.
            second: The one it is subtracted from, over the same groups of the same patients.
        """

    @abstractmethod
    def families(self) -> dict[str, Family]:
        """The sums that leave under noise, by name, in a fixed order."""

    @property
    @abstractmethod
    def reference_shape(self) -> tuple[int, ...]:
        """Of :meth:`reference`."""

    @abstractmethod
    def reference(self, evidence: Floats | None) -> Floats:
        """Numbers by which :meth:`bounded` bounds what it sums.

        Args:
            evidence: Of the study centre's own patients (n, F); None where nothing is known.
        """

    @abstractmethod
    def is_reference(self, given: Floats) -> bool:
        """Whether finite numbers of the right shape (C, *reference_shape) may be references."""

    @abstractmethod
    def bounded(self, evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
        """The :meth:`families` of one arm at one acceleration without noise.

        Args:
            evidence: Of each slice (n, F), from :meth:`evidence`.
            mass: What each slice weighs (n,); a patient's masses sum to ``UNIT`` at most.
            reference: What bounds the sums, from :meth:`reference`.
        """

    @abstractmethod
    def noised_estimates(
        self,
        sums: Mapping[str, Floats],
        variance: Mapping[str, float],
        cell: int,
        n_patients: tuple[float, float],
        reference: Floats,
    ) -> Figures:
        """The task's figures of one arm at one acceleration, from sums under noise.

        Args:
            sums: By family, (C, ...) over all arms and accelerations, in patients.
            variance: By family, of each number's noise, in patients squared.
            cell: The number of the arm and acceleration, 0 .. C - 1.
            n_patients: Their number, and its variance by noise.
            reference: That cell's :meth:`reference`.
        """

    def counted(
        self, sums: Mapping[str, Floats], variance: Mapping[str, float]
    ) -> tuple[float, float] | None:
        """The number of patients as the task's sums have it, and its variance by noise; None where
        they do not say.

        Args:
            sums: By family, (C, ...), in patients.
            variance: By family, of each number's noise, in patients squared.
        """
        return None
