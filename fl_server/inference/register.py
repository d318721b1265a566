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
from infomri_core.report.verdict import verdict
from infomri_core.results.frontier import Row, labels, pareto, utility_of

MODELS = "models"

logger = logging.getLogger("infomri")


def register_models(directory: Path, plan: Plan, rows: Sequence[Row], tracker: Tracker) -> None:
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
        tags = figures(arm, rows) | {"infomri.plan": plan.digest}
        name, said = model_name(plan.study.name, arm), description(plan, arm, rows)
        tracker.model(arm, folder, name, tags, said)


def description(plan: Plan, arm: str, rows: Sequence[Row]) -> str:
    """What MLflow's page says of a version: the study, the arm, its figures and the verdict."""
    own = [row for row in rows if row.arm == arm]
    shown = labels(rows).get(arm, arm)
    lines = [
        f"{shown} of study {plan.study.name}, plan {plan.digest[:12]}. Research software, no "
        "medical device."
    ]
    lines += [f"- {line}" for row in own if (line := in_words(row))]
    return "\n".join([*lines, "", verdict(own, {}).headline])


def in_words(row: Row) -> str:
    """The figures of a row in one line."""
    figure, utility = utility_of([row]), row.utility.value
    said = [
        None if utility is None else f"{figure.title} {figure.form(utility)}",
        None if row.psnr_worst is None else f"strongest attack {row.psnr_worst:.1f} dB",
        None
        if row.psnr_gain_answer is None
        else f"{row.psnr_gain_answer:+.1f} dB beyond the {row.answer}",
        None if row.linkage_same_rank1 is None else f"linkage finds {row.linkage_same_rank1:.0%}",
    ]
    return f"{row.acceleration:g}x: {', '.join(part for part in said if part)}"


def figures(arm: str, rows: Sequence[Row]) -> dict[str, str]:
    """What a version of the arm says of itself in the registry, by acceleration."""
    best = pareto(rows)
    tags = {"infomri.arm": arm, "infomri.task": rows[0].task if rows else ""}
    for row in rows:
        if row.arm != arm:
            continue
        at = f"{row.acceleration:g}x"
        utility = utility_of([row]).name
        named = {utility: row.utility.value, "psnr_worst": row.psnr_worst}
        named |= {"psnr_gain": row.psnr_gain, "linkage": row.linkage_same_rank1}
        tags |= {f"{name}/{at}": f"{v:.4g}" for name, v in named.items() if v is not None}
        tags[f"pareto/{at}"] = "yes" if row in best else "no"
    return tags
