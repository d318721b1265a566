"""``infomri audit --external``: masks and k-space that another system made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_server.audit.external import Source, audit_masks, external_table
from fl_server.commands import audit_actions
from infomri_core.attacks.external import read_external
from infomri_core.attacks.registry import FLOORS
from infomri_core.data import open_dataset
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.sampling import draw_masks
from infomri_core.sampling.samplers.stored import GivenMask
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, site_uri

NOISE = 0.01
N = 6


def make_external(directory: Path, one_mask: bool = True, truth: bool = True) -> Path:
    """Six phantoms measured on the central lines, as a Cartesian scanner would."""
    directory.mkdir(exist_ok=True)
    images = open_dataset(site_uri("x")).images(np.arange(N))
    masks = torch.zeros(N, 32, 32)
    for i in range(N):
        masks[i, :, 11 - (0 if one_mask else i) : 22] = 1
    kspace = measure(fft2c(images), masks, NOISE, torch.Generator().manual_seed(0))
    np.save(directory / "mask.npy", (masks[0] if one_mask else masks).numpy().astype(np.uint8))
    np.save(directory / "kspace.npy", kspace.numpy())
    if truth:
        np.save(directory / "truth.npy", images.numpy())
    (directory / "external.toml").write_text(f"noise_std = {NOISE}\n")
    return directory


def source(directory: Path, attacks: tuple[str, ...] = ("lmmse", "cnn")) -> Source:
    return Source(directory, AUDIT_URI, attacks, {"cnn": 3}, directory / "out", "cpu")


@pytest.mark.parametrize("one_mask", [True, False])
def test_attacks_are_compared_with_the_truth_and_with_floors(tmp_path: Path, one_mask: bool):
    found = audit_masks(source(make_external(tmp_path, one_mask)), lambda sentence: None)
    assert set(found.quality) == {*FLOORS, "lmmse", "cnn"}
    floor = max(found.quality[name]["psnr"] for name in FLOORS)
    assert found.quality["lmmse"]["psnr"] > floor + 3
    assert len(external_table(found).rows) == len(found.quality)
    assert np.load(tmp_path / "out" / "reconstructed-lmmse.npy").shape == (N, 32, 32)


def test_an_external_audit_has_its_report_and_its_ensemble(tmp_path: Path):
    asked = source(make_external(tmp_path), ("ensemble", "lmmse", "cnn"))
    found = audit_masks(asked, lambda sentence: None)
    assert set(found.quality) == {*FLOORS, "lmmse", "cnn", "ensemble"}
    report = (tmp_path / "out" / "privacy-report.html").read_text("utf-8")
    assert "external mask" in report and "a stranger&#x27;s mean image gives away" in report
    with pytest.raises(InputError, match="two others for the ensemble"):
        audit_masks(source(tmp_path, ("ensemble",)), lambda sentence: None)


def test_without_a_truth_there_are_images_and_no_figure(tmp_path: Path, capsys):
    directory = make_external(tmp_path, truth=False)
    audit_actions.audit_external(directory, AUDIT_URI, ("lmmse",), {}, tmp_path / "out", "cpu")
    assert "cannot be computed" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "out" / "reconstructed-lmmse.npy").exists()
    assert '"quality": {}' in (tmp_path / "out" / "external-audit.json").read_text()


def test_a_given_mask_is_drawn_as_it_is():
    mask = (torch.rand(9, 8, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    drawn = draw_masks(GivenMask(mask)(1.0), 5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(drawn, mask.expand(5, 9, 8))


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        np.save(directory / name, change(np.load(directory / name)))

    return apply


def bad_toml(directory: Path) -> None:
    (directory / "external.toml").write_text("noise_std = -1.0\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (bad_toml, "noise_std"),
        (changed("mask.npy", lambda m: m * 2), "binarise"),
        (changed("mask.npy", lambda m: m[:-1]), "mask.npy"),
        (changed("mask.npy", lambda m: m * 0), "not all 0"),
        (changed("kspace.npy", np.abs), "complex"),
        (changed("kspace.npy", lambda k: k + 1), "zero where the mask is 0"),
        (changed("kspace.npy", lambda k: k * np.nan), "NaN"),
        (changed("kspace.npy", lambda k: 3 * k), "centred orthonormal"),
        (changed("kspace.npy", np.conj), "centred orthonormal"),
        (changed("truth.npy", lambda x: 255 * x), r"images in \[0, 1\]"),
        (changed("truth.npy", lambda x: x[:-1]), "truth.npy"),
        (lambda directory: (directory / "kspace.npy").unlink(), "no such file"),
        (lambda directory: (directory / "truth.npy").write_bytes(b"PK"), "truth.npy"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
):
    spoil(make_external(tmp_path))
    with pytest.raises(InputError, match=words):
        read_external(tmp_path)


def test_a_scale_that_is_not_ours_is_seen_without_a_truth(tmp_path: Path):
    make_external(tmp_path, truth=False)
    changed("kspace.npy", lambda k: 100 * k)(tmp_path)
    with pytest.raises(InputError, match="as bright as"):
        read_external(tmp_path)


@pytest.mark.parametrize(
    ("audit", "attack", "words"),
    [
        (AUDIT_URI.replace("size=32", "size=48"), "lmmse", "images of shape"),
        (AUDIT_URI.replace("patients=16", "patients=4"), "lmmse", "7 patients"),
        (AUDIT_URI, "lmse", "did you mean"),
    ],
)
def test_an_audit_set_or_attack_that_does_not_fit_is_refused(
    tmp_path: Path, audit: str, attack: str, words: str
):
    asked = Source(make_external(tmp_path), audit, (attack,), {}, tmp_path / "out", "cpu")
    with pytest.raises(InputError, match=words):
        audit_masks(asked, lambda sentence: None)
