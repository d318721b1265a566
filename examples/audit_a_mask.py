"""How much of an image does a fixed sampling mask give away? Audit one that is given as .npy.

    python examples/audit_a_mask.py mask.npy
    python examples/audit_a_mask.py mask.npy --images slices:knees.h5 --attacks lmmse,tv

``mask.npy`` holds 0 and 1, (H, W), with the zero frequency at (H // 2, W // 2). The attacks are
fitted on one part of the patients and attack the others. Without ``--images``, which must have the
mask's shape, they are phantoms; masks that are not square need images of their own.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.certify import certify
from infomri_core.attacks.registry import build
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling.samplers.stored import GivenMask
from infomri_core.system.errors import InputError

PHANTOMS = "phantom:?size={size}&patients={patients}&slices=4&hospital=audit"


def read_mask(path: Path) -> torch.Tensor:
    """The mask (H, W) as float32. ``InputError`` when it is not one of 0 and 1."""
    mask = np.load(path, allow_pickle=False)
    if mask.ndim != 2 or not np.isin(mask, (0, 1)).all() or not mask.any():
        got = f"{mask.dtype} {mask.shape}"
        raise InputError(str(path), "(H, W) of 0 and 1, not all 0", got, "binarise the mask")
    return torch.from_numpy(mask.astype(np.float32))


def images_for(mask: torch.Tensor, uri: str, n_patients: int) -> SliceDataset:
    """The images to audit with: those of ``uri``, or phantoms of the mask's size."""
    height, width = mask.shape
    if not uri and height != width:
        got = f"{height} x {width}"
        raise InputError("--images", "a URI, for a mask that is not square", got, "give --images")
    found = open_dataset(uri or PHANTOMS.format(size=height, patients=n_patients))
    if found.shape != (height, width):
        expected = f"images of the mask's {height} x {width}"
        raise InputError("--images", expected, str(found.shape), "crop the images or the mask")
    return found


def figures(
    mask: torch.Tensor, data: SliceDataset, attacks: Sequence[str], noise_std: float
) -> dict[str, tuple[float, bool | None]]:
    """By attack: mean PSNR (dB) on patients it never saw, and whether it passed its control.

    ``mean``, the best single answer without a measurement, stands beside them and has no control.
    """
    policy, ratio = GivenMask(mask), float(mask.mean())
    own, other = (data.where(data.table.split == part) for part in ("train", "val"))
    images, truth = own.images(range(len(own))), other.images(range(len(other)))
    masks = mask.expand(len(truth), -1, -1)
    measurement = measure(fft2c(truth), masks, noise_std, torch_generator("mask", "noise"))
    found: dict[str, tuple[float, bool | None]] = {}
    reference = None
    for name in ("mean", "lmmse", *(a for a in attacks if a != "lmmse")):
        generator = torch_generator("mask", "fit", name)
        attack = build(name, data.shape)
        attack.fit(AuditSet.of(images, policy, [ratio], noise_std, generator, own.table.patients))
        quality = float(psnr(attack.reconstruct(measurement, masks), truth).mean())
        reference = attack if name == "lmmse" else reference
        passed = None
        if reference is not None:
            passed = certify(attack, reference, truth, noise_std, generator).passed
        found[name] = (quality, passed)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each attack makes of the mask, and what that means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mask", type=Path)
    parser.add_argument("--images", default="", help="data URI; default: phantoms")
    parser.add_argument("--patients", type=int, default=60, help="phantoms, without --images")
    parser.add_argument("--attacks", default="lmmse,tv,wavelet", help="names with commas")
    parser.add_argument("--noise", type=float, default=0.02, help="of real and imaginary part")
    chosen = parser.parse_args(arguments)
    mask = read_mask(chosen.mask)
    data = images_for(mask, chosen.images, chosen.patients)
    found = figures(mask, data, chosen.attacks.split(","), chosen.noise)
    print(f"{chosen.mask}: {float(mask.mean()):.1%} of k-space, {1 / float(mask.mean()):.1f}x")
    for name, (quality, passed) in found.items():
        note = {None: "no measurement used", True: "passed its control", False: "weak"}[passed]
        print(f"  {name:8} {quality:5.1f} dB  {note}")
    floor = found["mean"][0]
    strongest = max(quality for quality, passed in found.values() if passed is not None)
    print(f"The strongest attack is {strongest - floor:+.1f} dB against knowing no measurement.")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
