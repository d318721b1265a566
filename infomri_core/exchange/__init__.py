"""The closed list of what study centre and site say to each other, as typed values."""

from infomri_core.exchange.adapting import AdaptReply, AdaptTask
from infomri_core.exchange.evaluation import EvaluateReply, EvaluateTask, Scores
from infomri_core.exchange.moments import MomentsReply, MomentsTask
from infomri_core.exchange.question import question_of
from infomri_core.exchange.reading import reply_from, task_from
from infomri_core.exchange.release import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.exchange.secure import (
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
from infomri_core.exchange.values import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    Exchanged,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    is_site_name,
)

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
    "is_site_name",
    "question_of",
    "reply_from",
    "task_from",
]
