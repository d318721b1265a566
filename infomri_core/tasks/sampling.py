"""What a task says besides whose network draws samples, or has parts for training only."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from infomri_core.models.settings import Model
from infomri_core.randomness.draws import Randomness
from infomri_core.tasks.values import Inspection


class Sampling:
    """Of a task that draws nothing, outlines nothing and deploys its whole network."""

    loss_titles: ClassVar[Mapping[str, str]] = {}
    """What people call the loss terms, with their units."""

    @property
    def outline_names(self) -> tuple[str, ...]:
        """What :meth:`outlined` outlines."""
        return ()

    def outlined(
        self, network: nn.Module, measurement: Tensor, n: int, generator: Randomness
    ) -> Tensor | None:
        """Of ``n`` samples the probability (B, n, 1 + K, H, W) of background and
        :attr:`outline_names`; None from a task that outlines nothing."""
        return None

    def n_drawn(self, network: nn.Module) -> int:
        """How many standard normal numbers a slice :meth:`training_output` takes."""
        return 0

    def teaches_samplers(self, model: Model) -> bool:
        """Whether the loss of a network by ``[model]`` may reach a sampler that learns: not where
        the network is to see nothing but what was measured."""
        return True

    def inspect(
        self, network: nn.Module, measurement: Tensor, mask: Tensor, targets: Tensor
    ) -> Inspection | None:
        """What the whole network does on slices whose targets are at hand; None from a task that
        has nothing to say of it beyond its figures."""
        return None

    def deployed(self, network: nn.Module) -> nn.Module:
        """Without what is there for training only."""
        return network
