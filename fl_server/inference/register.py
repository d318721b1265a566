"""After a study: every trained arm becomes an MLflow model and a candidate in its registry."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from fl_server.inference import mlflow_model
from fl_server.run import checkpoint
from fl_server.tracking.registry import model_name
from fl_server.tracking.tracker import Tracker
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import Row, pareto

MODELS = "models"

logger = logging.getLogger("infomri")


def offer_models(directory: Path, plan: Plan, rows: Sequence[Row], tracker: Tracker) -> None:
    """Write the arms of the newest checkpoint of the run in ``directory`` as MLflow models, into
    ``directory/models``, and hand them to the registry.

    A model that cannot be written is logged: the study stands without it.
    """
    saved = checkpoint.latest(directory / "checkpoints", plan.digest)
    if saved is None:
        return
    for arm in saved.arms:
        folder = directory / MODELS / arm
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(exist_ok=True)
            mlflow_model.save_model(folder, saved, arm)
        except Exception as error:
            logger.warning("arm %s was not written as an MLflow model: %s", arm, error)
            continue
        tracker.model(arm, folder, model_name(plan.study.name, arm), figures(arm, rows))


def figures(arm: str, rows: Sequence[Row]) -> dict[str, str]:
    """What a version of the arm says of itself in the registry, by acceleration."""
    tags = {"infomri.arm": arm}
    for row in rows:
        if row.arm != arm:
            continue
        at = f"{row.acceleration:g}x"
        rivals = [r for r in rows if r.acceleration == row.acceleration]
        named = {"auroc": row.auroc, "psnr_worst": row.psnr_worst, "psnr_gain": row.psnr_gain}
        tags |= {f"{name}/{at}": f"{v:.4g}" for name, v in named.items() if v is not None}
        tags[f"pareto/{at}"] = "yes" if row in pareto(rivals) else "no"
    return tags
