"""What a plan says of its networks."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """ResNet18 of base ``width``; ``norm`` is group or batch. ``start`` is the policy's.

    ``input`` is what the classifier sees: the zero-filled image, or ``whitened``, the same with
    k-space divided by the fourth root of its variance. ``reconstructor``: of a task that rebuilds
    images, the network that does (:mod:`infomri_core.reconstruction.registry`); ``width`` is its.
    """

    width: int = 16
    norm: str = "group"
    input: str = field(default="zero-filled", metadata={"was": "mouth"})
    start: str = "spectral"
    reconstructor: str = ""
