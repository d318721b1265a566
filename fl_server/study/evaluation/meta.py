"""What stands beside the rows of a study in ``results.json``."""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from fl_server.audit.adversaries import FittedAudit
from fl_server.study.epsilon import privacy_meta, study_epsilon
from fl_server.study.evaluation.results import MergedScores
from infomri_core import __version__
from infomri_core.attacks.certify import void_because
from infomri_core.plan.adversary_knowledge import base_name
from infomri_core.plan.plan import Plan


def strongest(merged: MergedScores) -> Iterator[tuple[str, str]]:
    """For each arm and acceleration where it is, and the attack that rebuilt best there."""
    for (arm, acceleration), figures in merged.figures().items():
        psnr = figures["psnr"]
        if psnr:
            strongest_name = max(psnr, key=lambda n: (psnr[n], n))
            yield f"{arm} at {acceleration:g}x", base_name(strongest_name)


def lost_states(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which arms continued with a fresh optimizer, at which site and in which round."""
    return [
        {"round": told["round"], "site": site, "arms": arms}
        for told in history["rounds"]
        for site, arms in sorted(told.get("lost_state", {}).items())
    ]


def study_meta(
    plan: Plan,
    fitted: FittedAudit,
    merged: MergedScores,
    dropped: Mapping[str, str],
    history: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What a reader needs to judge the rows: seeds, versions, sites, the audit's own quality."""
    return {
        "study": plan.study.name,
        "created": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "seed": plan.study.seed,
        "plan_sha256": plan.digest,
        "noise_std": plan.measurement.noise_std,
        "task": plan.task.kind,
        "task_does": plan.task.describe(),
        "labels": list(plan.task.answer_names),
        "position_band": plan.evaluation.position_band,
        "sites": merged.sites,
        "per_site": merged.by_site,
        "summed_over": list(merged.summed),
        "dropped_arms": dict(sorted(dropped.items())),
        "n_audit": fitted.n_images,
        "certificates": {name: asdict(c) for name, c in fitted.certificates.items()},
        "attack_histories": fitted.histories,
        "attack_budgets": fitted.budgets,
        "failed_attacks": fitted.failed,
        "failed_at_sites": merged.failed,
        "lost_state": lost_states(history),
        **merged.noise_meta(),
        "size_curves": {
            name: dict(c.size_curve) for name, c in fitted.certificates.items() if c.size_curve
        },
        "audit_void": void_because(strongest(merged), fitted.certificates) or False,
        "privacy": privacy_meta(plan, history),
        "epsilon": study_epsilon(history),
        "rounds": history["rounds"],
        "phase_seconds": dict(seconds),
        "versions": {
            "infomri": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
