"""``share``: encrypted shares of this site's secrets, for the sites that announced."""

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.secure import masks
from infomri_core.messages import ShareReply, ShareTask, SiteReply


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Shares for others who announced, slot by slot. Raises ``Refused("gate")``."""
    if not isinstance(reply, ShareReply) or not isinstance(context.task, ShareTask):
        raise refusal("a reply that is not the task's")
    announced = context.task.announcements
    known = [{a.name for a in slot} - {context.site} for slot in announced]
    pairs = zip(reply.shares, known, strict=False)
    if len(known) != len(reply.shares) or not all(set(box) <= names for box, names in pairs):
        raise refusal("unrequested shares")
    return Checked(reply)


JOB = masks.job("share", ShareTask, check_reply)
