"""How long secure aggregation of a full ResNet18 takes: ``python -m benchmarks.secagg``.

Three sites and the centre take their turns in this one process; transport is not counted.
"""

import argparse
import time

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from infomri_core.secagg import Collector, Participant
from infomri_core.secagg.ring import mean_from_ring, to_ring


def run(n: int, n_sites: int, n_dropped: int) -> dict[str, float]:
    """Seconds of each step, over all sites; the last ``n_dropped`` share but do not deliver."""
    names = [f"site{i}" for i in range(n_sites)]
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in names}
    trusted = {name: key.public_key() for name, key in keys.items()}
    threshold = n_sites // 2 + 1
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=n).astype(np.float32) for name in names}
    marks = [time.perf_counter()]
    sites = [Participant(name, b"benchmark", keys[name], trusted) for name in names]
    announced = [site.announcement for site in sites]
    posted = {site.name: site.share(announced, threshold) for site in sites}
    inboxes = {
        name: {sender: box[name] for sender, box in posted.items() if sender != name}
        for name in names
    }
    marks.append(time.perf_counter())
    centre = Collector(n + 1, b"benchmark", threshold, announced, names)
    present = sites[: n_sites - n_dropped]
    for site in present:
        centre.add(site.name, site.mask(to_ring(weights[site.name], 100), inboxes[site.name]))
    marks.append(time.perf_counter())
    total = centre.total({site.name: site.unmask(centre.delivered) for site in present})
    mean, _ = mean_from_ring(total)
    marks.append(time.perf_counter())
    plain = np.mean([weights[site.name] for site in present], axis=0)
    assert np.allclose(mean, plain, atol=1e-6)
    share, mask, unmask = np.diff(marks).tolist()
    return {"share": share, "mask and add": mask, "unmask": unmask, "all": sum(np.diff(marks))}


def main() -> None:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=11_180_000)
    parser.add_argument("--sites", type=int, default=3)
    parser.add_argument("--dropped", type=int, default=1)
    arguments = parser.parse_args()
    for step, seconds in run(arguments.weights, arguments.sites, arguments.dropped).items():
        print(f"{step:14s} {seconds:7.2f} s")


if __name__ == "__main__":
    main()
