"""The tasks there are, by the kind that a plan's ``[task]`` names; a new one is added here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from infomri_core.plugins.registry import Registry
from infomri_core.system.config import build
from infomri_core.system.errors import InputError, nearest

if TYPE_CHECKING:
    from infomri_core.tasks.figures import Figure
    from infomri_core.tasks.task import Task
    from infomri_core.tasks.values import Demonstration

TASKS = Registry(
    "infomri.tasks",
    {
        "classification": "infomri_core.tasks.classification:Classification",
        "regression": "infomri_core.tasks.regression:Regression",
        "reconstruction": "infomri_core.tasks.reconstruction:Reconstruction",
        "segmentation": "infomri_core.tasks.segmentation:Segmentation",
    },
)
"""Where each kind's class is. Its file, and PyTorch, are loaded when somebody asks for it: who has
the network of a site reads messages without them."""
DEMONSTRATIONS = {"segmentation": "infomri_core.tasks.outlining.demonstration:DEMONSTRATION"}
"""Of the kinds that have one, the study by which they are shown."""
DEFAULT = "classification"
"""The kind of plans and results that name none."""


def task_class(kind: str) -> "type[Task]":
    """The class of a registered ``kind``. ``InputError`` for any other."""
    if kind not in TASKS:
        hint = TASKS.hint(kind) or nearest(kind, TASKS) or f"the kinds are {', '.join(TASKS)}"
        raise InputError("[task] kind", "a registered task", repr(kind)[:60], hint)
    return cast("type[Task]", TASKS.load(kind))


def demonstration_of(kind: str) -> "Demonstration | None":
    """The study by which ``kind`` is shown, where it has one of its own."""
    if kind not in DEMONSTRATIONS:
        return None
    module, _, name = DEMONSTRATIONS[kind].partition(":")
    return cast("Demonstration", getattr(import_module(module), name))


def figures_of(kind: str) -> "tuple[Figure, ...]":
    """The figures of a registered kind of task, the utility axis first."""
    return task_class(kind).figures


def answer_of(kind: str) -> str:
    """What models of a registered kind of task tell of a slice, as a noun."""
    return task_class(kind).answer


def task_from(table: Any, where: str) -> "Task":
    """The task that the table ``[task]`` of a plan describes. ``InputError`` when it cannot."""
    options = dict(table) if isinstance(table, dict) else table
    kind = options.pop("kind", DEFAULT) if isinstance(options, dict) else DEFAULT
    return build(task_class(kind if isinstance(kind, str) else repr(kind)), options, where)
