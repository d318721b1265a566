"""The closed list of what study centre and site say to each other, as typed values."""

from infomri_core.exchange.reading import reply_from, task_from
from infomri_core.exchange.release import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.exchange.values import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    Exchanged,
    Scores,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    is_site_name,
)

__all__ = [
    "DatasetCard",
    "EnrolTask",
    "ErrorReply",
    "EvaluateReply",
    "EvaluateTask",
    "Exchanged",
    "ReleaseReply",
    "ReleaseTask",
    "ReleasedPatient",
    "Scores",
    "SiteReply",
    "SiteTask",
    "TrainReply",
    "TrainTask",
    "is_site_name",
    "reply_from",
    "task_from",
]
