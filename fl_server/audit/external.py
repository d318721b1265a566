"""``infomri audit --external``: attackers against masks and k-space made elsewhere."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_server.audit.data_check import MIN_FIT_PATIENTS, check_intensities
from fl_server.audit.fitting import ensemble_members
from infomri_core import __version__
from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet, folds
from infomri_core.attacks.base import Attack
from infomri_core.attacks.certify import Certificate, certify
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.external import External, read_external
from infomri_core.attacks.registry import ATTACKS, ENSEMBLE, FLOORS, REFERENCE
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.physics.images import image_metrics
from infomri_core.randomness.seeds import torch_generator
from infomri_core.report.report import render
from infomri_core.results.frontier import Row
from infomri_core.sampling.samplers.stored import GivenMask
from infomri_core.summaries.metrics import METRICS
from infomri_core.system.device import pick_device
from infomri_core.system.errors import InputError, nearest
from infomri_core.system.files import check_output, disk_errors_explained, write_atomically
from infomri_core.system.screen_table import Column, ScreenTable

MAX_MASKS = 8
DEFAULT = (REFERENCE, "unet")
_FOLDS = 7


@dataclass(frozen=True)
class Source:
    """Folder ``directory`` of the external files; ``audit``: URI of images like the measured."""

    directory: Path
    audit: str
    attacks: tuple[str, ...]
    steps: Mapping[str, int]
    out: Path
    device: str = "auto"


@dataclass(frozen=True)
class ExternalAudit:
    """``quality``: mean of each of ``METRICS`` by attack and floor; empty without a truth."""

    quality: dict[str, dict[str, float]]
    certificates: dict[str, Certificate]
    files: list[Path]


def audit_masks(source: Source, say: Callable[[str], None]) -> ExternalAudit:
    """Fit attacks for the masks on the audit set, rebuild the images, and compare with the truth.

    Writes ``external-audit.json``, the attacks' images as ``reconstructed-<attack>.npy`` and,
    where the truth is known, ``privacy-report.html``. ``InputError`` for files or an audit set
    that won't do.
    """
    check_output(source.out)
    given = read_external(source.directory)
    names = _names(source.attacks)
    audit_set = open_dataset(source.audit)
    _check_audit_set(audit_set, given)
    device = torch.device(pick_device(source.device))
    fitted, certificates = _fit(names, source, given, audit_set, device, say)
    y, masks = given.kspace.to(device), given.masks.to(device)
    rebuilt = {name: a.reconstruct(y, masks).cpu() for name, a in fitted.items()}
    quality = {}
    if given.truth is not None:
        quality = {name: _quality(image, given.truth) for name, image in rebuilt.items()}
    files = {f"reconstructed-{name}.npy": _npy(rebuilt[name].float().numpy()) for name in names}
    content = _content(given, len(audit_set), quality, certificates)
    files["external-audit.json"] = (json.dumps(content, indent=2) + "\n").encode()
    if quality:
        rows, meta = [_row(given, quality, content)], _meta(source, content, certificates)
        files["privacy-report.html"] = render(rows, meta, {}).encode()
    again = "make room; the files written so far are whole, the same command makes all of them"
    with disk_errors_explained(source.out, again):
        for name, data in files.items():
            write_atomically(source.out / name, data)
    return ExternalAudit(quality, certificates, [source.out / name for name in files])


def external_table(found: ExternalAudit) -> ScreenTable:
    """Attacks and floors against the truth, the strongest attack first."""
    columns = [Column("attack")]
    columns += [Column(name, right=True) for name in ("PSNR, dB", "SSIM", "NMSE")]
    columns += [Column("beyond the\nfloor, dB", right=True)]
    rows = []
    floor = max(found.quality[name]["psnr"] for name in FLOORS)
    for name in sorted(found.quality, key=lambda n: -found.quality[n]["psnr"]):
        q, is_floor = found.quality[name], name in FLOORS
        weak = "" if is_floor or found.certificates[name].passed else " (weak)"
        gain = "" if is_floor else f"{q['psnr'] - floor:+.1f}"
        shown = f"floor: {name}" if is_floor else f"{name}{weak}"
        rows.append((shown, f"{q['psnr']:.1f}", f"{q['ssim']:.3f}", f"{q['nmse']:.3f}", gain))
    caption = "A weak attack failed its own test: its low PSNR is not evidence of privacy."
    return ScreenTable(columns, rows, "Reconstruction of external measurements", caption)


def _names(asked: tuple[str, ...]) -> tuple[str, ...]:
    """The attacks asked for, after the reference that certifies them."""
    for name in asked:
        if name not in ATTACKS:
            hint = nearest(name, ATTACKS) or f"they are {', '.join(ATTACKS)}"
            raise InputError("--attacks", "names of attacks", repr(name), hint)
    names = dict.fromkeys((REFERENCE, *(asked or DEFAULT)))
    alone = [name for name in names if name != ENSEMBLE]
    if ENSEMBLE in names and len(alone) < 2:
        remedy = "name another attack beside it"
        raise InputError("--attacks", "two others for the ensemble to average", alone[0], remedy)
    # Last: it averages those before it.
    return tuple(alone) + (ENSEMBLE,) * (ENSEMBLE in names)


def _check_audit_set(audit_set: SliceDataset, given: External) -> None:
    if audit_set.shape != given.shape:
        remedy = "give --audit images of the mask's shape"
        raise InputError("--audit", f"images of shape {given.shape}", str(audit_set.shape), remedy)
    n_patients = len(np.unique(audit_set.table.patients))
    if n_patients < MIN_FIT_PATIENTS:
        expected = f"at least {MIN_FIT_PATIENTS} patients"
        raise InputError("--audit", expected, str(n_patients), "give more patients")
    check_intensities(audit_set, "--audit")


def _fit(
    names: tuple[str, ...],
    source: Source,
    given: External,
    audit_set: SliceDataset,
    device: torch.device,
    say: Callable[[str], None],
) -> tuple[dict[str, Attack], dict[str, Certificate]]:
    everything = audit_set.images(np.arange(len(audit_set))).to(device)
    patients = audit_set.table.patients
    kept, held_out = folds(len(audit_set), _FOLDS, patients)[0]
    images = everything[torch.from_numpy(kept)]
    distinct = torch.unique(given.masks, dim=0)
    spread = torch.linspace(0, len(distinct) - 1, min(MAX_MASKS, len(distinct))).round().long()
    policies = [GivenMask(mask).to(device) for mask in distinct[spread]]
    fitted: dict[str, Attack] = {}
    certificates: dict[str, Certificate] = {}
    for name in (*FLOORS, *names):
        options = {"n_steps": source.steps[name]} if name in source.steps else {}
        attack = attacks.build(name, given.shape, **options).to(device)
        generator = torch_generator("external", name, device=device)
        measured = (policies, [1.0], given.noise_std, generator, patients[kept])
        fitted[name] = attack.fit(AuditSet.of(images, *measured))
        if isinstance(attack, Ensemble):
            attack.bind(fitted, ensemble_members(names, certificates))
        if name in names:
            say(f"attack {name} fitted on {len(images)} images of the audit set")
            certificates[name] = certify(
                *(attack, fitted[REFERENCE], everything[torch.from_numpy(held_out)]),
                given.noise_std,
                torch_generator("external", "certify", device=device),
            )
    return fitted, certificates


def _quality(images: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    return dict(zip(METRICS, image_metrics(images, truth).double().mean(0).tolist()))


def _content(
    given: External,
    n_audit: int,
    quality: Mapping[str, Mapping[str, float]],
    certificates: Mapping[str, Certificate],
) -> dict[str, Any]:
    note = "" if quality else "no truth.npy: PSNR cannot be computed"
    return {
        "n_images": len(given.kspace),
        "shape": list(given.shape),
        "points_sampled": float(given.masks.sum((1, 2)).mean()),
        "noise_std": given.noise_std,
        "n_audit": n_audit,
        "quality": {name: dict(values) for name, values in quality.items()},
        "certified": [name for name, c in certificates.items() if c.passed],
        "note": note,
    }


def _row(
    given: External, quality: Mapping[str, Mapping[str, float]], content: Mapping[str, Any]
) -> Row:
    """The one line of a report on a mask of which no diagnosis is known."""
    found = {n: q for n, q in quality.items() if n not in FLOORS}
    return Row(
        arm="external mask",
        sampler="external",
        beta=0.0,
        seed=0,
        acceleration=given.masks[0].numel() / content["points_sampled"],
        psnr={name: q["psnr"] for name, q in found.items()},
        ssim={name: q["ssim"] for name, q in found.items()},
        nmse={name: q["nmse"] for name, q in found.items()},
        certified=tuple(content["certified"]),
        psnr_prior=max(quality[name]["psnr"] for name in FLOORS),
        n_audit=content["n_audit"],
    )


def _meta(
    source: Source, content: Mapping[str, Any], certificates: Mapping[str, Certificate]
) -> dict[str, Any]:
    return {
        "study": f"external measurements in {source.directory.name}",
        "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "noise_std": content["noise_std"],
        "n_audit": content["n_audit"],
        "audit_data": source.audit,
        "scored_on": f"{content['n_images']} measurements given with their true images",
        "certificates": {name: asdict(c) for name, c in certificates.items()},
        "versions": {"infomri": __version__, "torch": torch.__version__},
    }


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
