"""The closed list of what study centre and site say to each other, as typed values."""

from infomri_core.messages.adapt import AdaptReply, AdaptTask
from infomri_core.messages.enrol import DatasetCard, EnrolTask
from infomri_core.messages.evaluate import EvaluateReply, EvaluateTask, Scores
from infomri_core.messages.moments import MomentsReply, MomentsTask
from infomri_core.messages.reading import (
    ErrorReply,
    Exchanged,
    SiteReply,
    SiteTask,
    reply_from,
    task_from,
    time_in,
)
from infomri_core.messages.release import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.messages.secure import (
    AnnounceReply,
    AnnounceTask,
    MaskedReply,
    Masking,
    SecureReply,
    SecureTask,
    ShareReply,
    ShareTask,
    UnmaskReply,
    UnmaskTask,
)
from infomri_core.messages.task_digest import task_digest
from infomri_core.messages.train import TrainReply, TrainTask

__all__ = [
    "AdaptReply",
    "AdaptTask",
    "AnnounceReply",
    "AnnounceTask",
    "DatasetCard",
    "EnrolTask",
    "ErrorReply",
    "EvaluateReply",
    "EvaluateTask",
    "Exchanged",
    "MaskedReply",
    "Masking",
    "MomentsReply",
    "MomentsTask",
    "ReleaseReply",
    "ReleaseTask",
    "ReleasedPatient",
    "Scores",
    "SecureReply",
    "SecureTask",
    "ShareReply",
    "ShareTask",
    "SiteReply",
    "SiteTask",
    "TrainReply",
    "TrainTask",
    "UnmaskReply",
    "UnmaskTask",
    "reply_from",
    "task_digest",
    "task_from",
    "time_in",
]
