"""The diagnosis floor of a whole study: one set of images, a few numbers for each cell."""

import pytest
import torch

from infomri_core.attacks.floors.diagnosis import DiagnosisFloor, fit_together
from infomri_core.physics.images import psnr

SHAPE = (12, 12)


def test_one_set_of_images_serves_all_cells_and_a_diagnosis_that_says_less_gives_less():
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    pattern = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1)) * 0.05
    images = (0.5 + torch.einsum("nk,khw->nhw", logits, pattern)).clamp(0, 1)
    blurred = logits + 2 * torch.randn(200, 2, generator=torch.Generator().manual_seed(2))
    cells = {"sharp": 3 * logits + 1, "blurred": blurred}
    floors = fit_together(images[:100], {name: z[:100] for name, z in cells.items()})
    quality = {
        name: float(psnr(floors[name].reconstruct_from(z[100:]), images[100:]).mean())
        for name, z in cells.items()
    }
    assert torch.equal(floors["sharp"].slopes, floors["blurred"].slopes)
    assert torch.equal(floors["sharp"].mean, floors["blurred"].mean)
    mean = float(psnr(images[:100].mean(0).expand(100, *SHAPE), images[100:]).mean())
    assert quality["sharp"] > quality["blurred"] + 2 > mean + 2
    alone = DiagnosisFloor(SHAPE).fit_logits(images[:100], blurred[:100])
    own = float(psnr(alone.reconstruct_from(blurred[100:]), images[100:]).mean())
    assert quality["blurred"] == pytest.approx(own, abs=0.3), "little is lost by sharing"
