"""``unmask``: the shares that undo the masks of one sum, and of one sum a round only."""

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.secure import masks
from fl_client.memory.masking import summed
from infomri_core.messages import SiteReply, UnmaskReply, UnmaskTask


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Never both secrets of one site; the ledger keeps which sum it was. ``Refused("gate")``."""
    if not isinstance(reply, UnmaskReply) or not isinstance(context.task, UnmaskTask):
        raise refusal("a reply that is not the task's")
    delivered = set(context.task.delivered)
    seeds, keys = set(reply.unmasking.seeds), set(reply.unmasking.mask_keys)
    if not seeds <= delivered or keys & (seeds | delivered):
        raise refusal("unrequested shares")
    return Checked(reply, {"note": summed(context.task)})


JOB = masks.job("unmask", UnmaskTask, check_reply)
