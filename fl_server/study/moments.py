"""Before the first round: the variance of k-space from the sites, where the plan asks for it."""

import numpy as np
import torch

from fl_server.study.context import StudyContext
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import check_epsilon
from fl_server.study.failure import StudyFailed
from infomri_core.dp.dp import private
from infomri_core.dp.moments import clipped_share, merged_variance, moments_rules
from infomri_core.messages import MomentsReply, MomentsTask
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError


def sites_variance(
    context: StudyContext, public: KSpaceMoments
) -> tuple[torch.Tensor, dict[str, float | None]]:
    """V (2, H, W) merged from the noised moments of all sites that answer, and the epsilon that
    each site, by name, told.

    Raises ``StudyFailed`` when fewer than the plan's quorum do.
    """
    plan, roster, progress = context.plan, context.roster, context.progress
    task = MomentsTask(plan.text, deadline(plan), public.mean.float().numpy())
    replies: dict[str, MomentsReply] = {}
    epsilons: dict[str, float | None] = {}
    for node, reply in context.sites.ask(task, roster.participants(1)):
        if not isinstance(reply, MomentsReply):
            roster.report_refusal(node, reply, 0)
            continue
        epsilons[roster.name(node)] = reply.epsilon
        try:
            check_moments(plan, reply)
        except InputError as error:
            progress.report("refused", f"moments of {roster.name(node)} not used: {error}")
            continue
        replies[node] = reply
    if len(replies) < plan.training.quorum:
        raise StudyFailed(
            f"noised moments came from {len(replies)} sites, the plan's quorum is "
            f"{plan.training.quorum}; fix the sites named above and resume"
        )
    used = [replies[node] for node in sorted(replies)]
    counts = [reply.n_units for reply in used]
    merged = merged_variance(moments_rules(plan), [r.total for r in used], counts, public.variance)
    progress.report(
        "moments",
        f"k-space variance of {sum(counts)} {private(plan).unit}s (rounded) of {len(used)} sites, "
        f"noise {moments_rules(plan).noise_multiplier:g}",
    )
    return merged, epsilons


def check_moments(plan: Plan, reply: MomentsReply) -> None:
    """``InputError`` unless ``reply`` is one that the plan's ``[moments]`` can have."""
    total, form = reply.total, (2, *plan.task.shape)
    if total.shape != form or total.dtype != np.float32 or not np.isfinite(total).all():
        got = f"{total.dtype} {total.shape}"
        raise InputError("reply: total", f"finite float32 {form}", got, "update that site")
    if not 0 < reply.n_units < 10**9:
        raise InputError("reply: n_units", "1 .. 10^9", str(reply.n_units), "update that site")
    check_epsilon(plan, reply)


def tell_clipping(context: StudyContext, images: torch.Tensor, public: KSpaceMoments) -> None:
    """Say how many of the audit patients the plan's clip would touch: a clip that touches most
    makes V too small, one far above all wastes privacy on noise."""
    owners = context.audit_set.table.patients
    kspace_mean, clip = public.mean, moments_rules(context.plan).clip
    units = [np.flatnonzero(owners == patient) for patient in np.unique(owners)]
    share = clipped_share(clip, units, lambda rows: images[rows], kspace_mean)
    sentence = f"[moments] clip = {clip:g} clips {share:.0%} of the audit set's patients"
    context.progress.report("moments", sentence)


def public_moments(images: torch.Tensor) -> KSpaceMoments:
    """Mean and variance of the audit set's k-space, images (n, H, W)."""
    return KSpaceMoments.from_kspace(fft2c(images.double()))
