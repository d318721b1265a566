"""From a scan to a trained arm's samples of its outlines."""

import numpy as np

from fl_server.inference.trained_arm import TrainedArm
from infomri_core.inference.inference import sampling_ratio
from infomri_core.inference.scans import Scan
from infomri_core.inference.segments import Segments, segment
from infomri_core.randomness.seeds import torch_generator


def outline_scan(
    trained: TrainedArm, scan: Scan, acceleration: float, seed: int, n_samples: int
) -> Segments:
    """``n_samples`` outlines of every slice. The random numbers follow from ``seed``, arm and
    acceleration alone. ``InputError`` for an acceleration that the arm was not trained for."""
    ratio = sampling_ratio(trained.plan, acceleration)
    device = next(trained.model.network.parameters()).device
    generator = torch_generator(seed, "segment", trained.arm.name, acceleration, device=device)
    parts = [
        segment(trained.model, batch.to(device), ratio, generator, n_samples)
        for batch in scan.batches()
    ]
    names = ("samples", "probability", "entropy", "seen")
    return Segments(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
