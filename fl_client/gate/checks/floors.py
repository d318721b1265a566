"""The floors of a scoring: one set of images a study, whatever the arm and the acceleration.

A floor answers with images that the study centre chose. Different ones in every arm and at every
acceleration would be as many free questions about the patients in one scoring.
"""

from collections.abc import Mapping

import numpy as np

from infomri_core.attacks.floors.class_means import MAX_PATTERNS
from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.adversaries import CLASS_MEANS, DIAGNOSIS, diagnosis_cells
from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused


def check_floors(attacks: Mapping[str, Arrays], plan: Plan) -> None:
    """Raises ``Refused("bad-task")`` when the floors in ``attacks`` carry more images than they
    may: one each; of the diagnosis a mean and a slope for each answer; of the classes one for each
    pattern of labels."""
    for name in FLOORS:
        if name in attacks and set(attacks[name]) != {"image"}:
            raise Refused("bad-task", f"the floor {name} is one image for the whole study")
    if DIAGNOSIS in attacks:
        _check_diagnosis(attacks[DIAGNOSIS], plan)
    if CLASS_MEANS in attacks:
        _check_classes(attacks[CLASS_MEANS], plan)


def _check_diagnosis(parts: Arrays, plan: Plan) -> None:
    known = {(arm.name, a) for arm in plan.arms for a in plan.measurement.accelerations}
    try:
        fits = set(diagnosis_cells(parts)) <= known
    except ValueError:
        fits = False
    if not fits or len(parts["slopes"]) != plan.task.n_answers:
        sentence = (
            "the diagnosis floor is one mean image and one slope an answer for the whole study"
        )
        raise Refused("bad-task", sentence)


def _check_classes(parts: Arrays, plan: Plan) -> None:
    patterns = parts.get("patterns", np.zeros(0))
    binary = patterns.ndim == 2 and bool(np.isin(patterns, (0, 1)).all())
    classes = plan.task.classes
    single = classes is not None and (
        not classes.exclusive or (binary and bool((patterns.sum(1) <= 1).all()))
    )
    if (
        not (binary and single and 1 <= len(patterns) <= MAX_PATTERNS)
        or len(np.unique(patterns, axis=0)) != len(patterns)
        or len(parts.get("means", ())) != len(patterns)
    ):
        sentence = f"class means are one image for each of up to {MAX_PATTERNS} patterns of labels"
        raise Refused("bad-task", sentence)
