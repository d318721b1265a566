"""What a plan says of its networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """ResNet18 of base ``width``; ``norm`` is group or batch. ``start`` is the policy's.

    ``mouth`` is what the classifier sees: the zero-filled image, or ``whitened``, the same with
    k-space divided by the fourth root of its variance.
    """

    width: int = 16
    norm: str = "group"
    mouth: str = "zero-filled"
    start: str = "spectral"
