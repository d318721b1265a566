"""How segmentation is shown: three hospitals whose discs have a known posterior."""

from infomri_core.tasks.values import Demonstration

_DISCS = "phantom:?ambiguous=1&size=32&slices=1&patients={}&hospital={}&seed={}"


DEMONSTRATION = Demonstration(
    sites={
        name: _DISCS.format(300, name, 11 + i) for i, name in enumerate(("north", "south", "east"))
    },
    audit=_DISCS.format(150, "centre", 99),
    sections={
        "measurement": {"ratio_range": [0.05, 0.25], "accelerations": [4.0, 16.0]},
        "model": {"width": 8},
        "training": {"rounds": 4, "local_steps": 60, "batch_size": 16, "flips": True},
        "evaluation": {"attacks": ["lmmse", "unet"]},
    },
    arms=(
        {"sampler": "infomri", "suppression": "marginal", "beta": 0.0},
        {"sampler": "infomri", "suppression": "marginal", "beta": 0.1},
        {"sampler": "infomri", "beta": -1.0},
        {"sampler": "variable-density", "exponent": 8.0},
    ),
)
