"""Sampled k-space of one patient for release: asked twice, it is the same to the byte.

Mask and noise come from the site's secret, the study and the patient, so that no repetition shows
another position or another draw of the noise. The noise of a slice is drawn for the whole plane
from its pixels' hash: neither a new row order nor another mask draws it again. Keys have 256
bits, so that two slices that differ never share their noise: their difference would be bare.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence

import numpy as np
import torch

from infomri_core.arms.build import load_model
from infomri_core.data.base import SliceDataset
from infomri_core.messages import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.sampling import mask_sampler
from infomri_core.sampling.sampler import MaskDistribution
from infomri_core.system.errors import Cancelled


def keyed(secret: str, *parts: str) -> str:
    """HMAC-SHA256 of ``parts`` under ``secret``, hexadecimal; without the secret no one can
    compute it or check a guess."""
    # A NumPy string has another repr than the same name as a str.
    text = repr(tuple(str(part) for part in parts))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def pseudonym(secret: str, study: str, patient: str) -> str:
    """What a patient is called in the replies of one study."""
    return keyed(secret, "pseudonym", study, patient)[:32]


def permanent_id(secret: str, patient: str) -> str:
    """What a patient is called in the site's own ledger, in all studies."""
    return keyed(secret, "patient", patient)[:32]


@torch.no_grad()
def release_patients(
    plan: Plan,
    task: ReleaseTask,
    dataset: SliceDataset,
    rows: np.ndarray,
    patients: Sequence[str],
    secret: str,
    cancelled: Callable[[], bool],
) -> ReleaseReply:
    """Sampled k-space of ``patients`` in the ``rows`` of ``dataset``, under pseudonyms. Computed
    on the CPU, one slice at a time, so that asking twice gives the same bytes. Raises
    ``Cancelled`` between two patients."""
    sampler = mask_sampler(load_model(plan, task.arm, task.weights).sampler)
    masks = sampler.at(1 / task.acceleration)
    owner = dataset.table.patients[rows].astype(str)
    released = {}
    for patient in patients:
        if cancelled():
            raise Cancelled
        images = dataset.images(rows[owner == patient])
        name = pseudonym(secret, plan.study.name, patient)
        released[name] = release_patient(masks, images, plan, secret, patient)
    return ReleaseReply(task.arm, task.acceleration, dataset.shape, released)


def release_patient(
    masks: MaskDistribution, images: torch.Tensor, plan: Plan, secret: str, patient: str
) -> ReleasedPatient:
    """Mask and y of one patient: one of ``masks``, for ``images`` (n, H, W), on the CPU.

    One mask for all slices (InfoMRI, Eq. 2 with m fixed), because the union of a patient's masks
    is what an attacker has.
    """
    stream = (plan.study.name, patient)
    mask = masks.draw(1, SecretStream.derived(secret, "release mask", *stream))[0]
    sampled = mask.bool()
    values = []
    for image in images:
        pixels = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        noise = SecretStream.derived(secret, "release noise", *stream, pixels)
        y = measure(fft2c(image), mask, plan.measurement.noise_std, noise)
        values.append(y[sampled].to(torch.complex64))
    return ReleasedPatient(sampled.numpy(), torch.stack(values).numpy())
