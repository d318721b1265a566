"""A ``results.json`` as versions with bootstrap intervals wrote it: no groups, no noise of scores,
figures of each site."""

import json
from pathlib import Path
from typing import Any

_OLD_KEYS: dict[str, Any] = {
    "accuracy": 0.8,
    "psnr_of_mean_mse": {"lmmse": 14.9, "unet": 15.9},
    "ssim": {"lmmse": 0.3, "unet": 0.4},
    "nmse": {"lmmse": 0.5, "unet": 0.4},
    "legibility": {"unet": 0.61, "full image": 0.97},
    "legibility_low": {"unet": 0.52, "full image": 0.95},
    "legibility_high": {"unet": 0.7, "full image": 0.99},
    "certified": ["lmmse", "unet"],
    "psnr_prior": 13.1,
    "psnr_diagnosis": 13.4,
    "redundancy": None,
    "linkage_same_rank1": 0.9,
    "linkage_same_auc": 0.99,
    "linkage_other_rank1": None,
    "linkage_other_auc": None,
    "linkage_gallery": 24.0,
    "linkage_low": {"same_rank1": 0.8},
    "linkage_high": {"same_rank1": 0.97},
    "n_train": 240,
    "n_audit": 255,
    "n_patients": 60,
    "rounds": 3,
    "epsilon": None,
    "worst_attack": "unet",
    "psnr_worst": 16.0,
    "psnr_gain": 2.9,
    "psnr_gain_diagnosis": 2.6,
}


def old_row(arm: str, auroc: float, beta: float) -> dict[str, Any]:
    """One arm at 8x; its AUROC is known to .03."""
    return {
        "arm": arm,
        "sampler": "infomri",
        "beta": beta,
        "seed": 0,
        "acceleration": 8.0,
        "suppression": "marginal",
        "auroc": auroc,
        "auroc_low": auroc - 0.03,
        "auroc_high": auroc + 0.03,
        "psnr": {"lmmse": 15.0, "unet": 16.0},
        "psnr_low": {"lmmse": 14.8, "unet": 15.7},
        "psnr_high": {"lmmse": 15.2, "unet": 16.3},
        **_OLD_KEYS,
    }


def write_old_results(path: Path, auroc: float = 0.9) -> Path:
    """``path``, with two arms of one study in it."""
    places = [("marginal", auroc, 1e-3), ("plain", 0.93, 0.0)]
    meta = {
        "study": "of an older version",
        "created": "2026-09-01 10:00 UTC",
        "seed": 0,
        "plan_sha256": "0" * 64,
        "noise_std": 0.02,
        "labels": ["tear"],
        "position_band": None,
        "sites": {"north": 40, "south": 20},
        "per_site": [
            {
                "site": site,
                "arm": arm,
                "acceleration": 8.0,
                "n_patients": 30,
                "auroc": value,
                "auroc_low": value - 0.05,
                "auroc_high": value + 0.05,
                "psnr": {"lmmse": 15.0, "unet": 16.0},
            }
            for site in ("north", "south")
            for arm, value, _ in places
        ],
        "dropped_arms": {},
        "n_audit": 255,
        "failed_attacks": {},
        "failed_at_sites": {},
        "audit_void": False,
        "privacy": None,
        "epsilon": None,
        "rounds": [{"round": 1, "sites": ["north", "south"], "n_train": 240, "masked": False}],
        "phase_seconds": {"audit": 1.0, "evaluate": 1.0},
        "versions": {"infomri": "0.1.0"},
    }
    content = {"rows": [old_row(*place) for place in places], "meta": meta}
    path.write_text(json.dumps(content))
    return path
