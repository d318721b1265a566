"""``announce``: signed keys for sums to come."""

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.secure import masks
from infomri_core.messages import AnnounceReply, AnnounceTask, SiteReply


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """As many keys as were asked for, all of this site. Raises ``Refused("gate")``."""
    if not isinstance(reply, AnnounceReply) or not isinstance(context.task, AnnounceTask):
        raise refusal("a reply that is not the task's")
    if [a.name for a in reply.announcements] != [context.site] * context.task.slots:
        raise refusal("unrequested keys")
    return Checked(reply)


JOB = masks.job("announce", AnnounceTask, check_reply)
