"""What a plan would do at a site, in plain words."""

from fl_client.commands.budget_words import privacy_words, scoring_words
from fl_client.commands.figure_words import figure_words
from fl_client.commands.rule_words import rule_words
from fl_client.policy.decisions import declined_file, read_approvals_text, read_declined
from fl_client.policy.limits import parse_approvals
from fl_client.settings import Policy, SiteSettings
from infomri_core.attacks.registry import title_of
from infomri_core.plan.adversary_knowledge import base_name, insider_attack, same_site_attacks
from infomri_core.plan.alone import alone_arms
from infomri_core.plan.evaluation_rules import masks_scores
from infomri_core.plan.plan import Plan
from infomri_core.secagg.trust import fingerprint, read_trust
from infomri_core.system.errors import InputError
from infomri_core.system.words import counted


def in_words(plan: Plan, settings: SiteSettings, data: str = "") -> list[str]:
    """What ``plan`` does at the site of ``settings``, line by line, on its data set ``data``."""
    training, measured, policy = plan.training, plan.measurement, settings.policy
    state = _state(plan, policy)
    arms = ", ".join(arm.name for arm in plan.arms)
    ratios = ", ".join(f"{a:g}x" for a in measured.accelerations)
    every = "" if policy.approvals == "listed" else "; this site runs every plan, approved or not"
    return [
        f"study {plan.study.name}, plan {plan.digest}",
        f"state at this site: {state}{every}",
        *([f"sees the data set {data or '[data]'}"] if settings.datasets else []),
        plan.task.describe(),
        f"trains {counted(len(plan.arms), 'arm')}: {arms}",
        *(f"  {arm.name} measures {arm.options.describe()}" for arm in plan.arms),
        *_target_words(plan),
        *_alone_words(plan),
        f"{counted(training.rounds, 'round')}, {counted(training.local_steps, 'step')} of "
        f"{training.batch_size} slices per arm and round at this site",
        f"scores once, after the last round, at {ratios}",
        "what leaves:",
        f"  counts of patients, slices and findings, in steps of {policy.round_to}",
        *_weights_words(plan, settings),
        f"  histograms of scores, and means of {', '.join(plan.evaluation.attacks)}"
        f" attacks, as sums over {_summed(plan, policy)}",
        *(f"    {name}: {title}" for name in plan.evaluation.attacks if (title := title_of(name))),
        *_masked_words(plan),
        *_old_words(plan),
        *scoring_words(plan, settings),
        *_adversary_words(plan),
        *_release_words(plan, settings),
        *figure_words(plan, settings),
        *privacy_words(plan, settings),
        *rule_words(plan, settings),
    ]


def _target_words(plan: Plan) -> list[str]:
    return [
        f"  {arm.name} is held to {arm.psnr_target:g} dB of the attack that it trains against, by "
        f"a weight of at most {arm.beta:g} nats a dB"
        for arm in plan.arms
        if arm.psnr_target is not None
    ]


def _alone_words(plan: Plan) -> list[str]:
    """What the site trains by itself beside the federation."""
    names = ", ".join(arm.name for arm in alone_arms(plan))
    if not names:
        return []
    kept = "those weights never leave it, and how well they do the task is scored like any arm's"
    return [f"  this site also trains {names} by itself, on its own patients:", f"    {kept}"]


def _state(plan: Plan, policy: Policy) -> str:
    declined = read_declined(declined_file(policy)).get(plan.digest)
    if declined is not None:
        return f"declined by {declined.by} {declined.at}: {declined.why}"
    text = read_approvals_text(policy.approved)
    approved = plan.digest in parse_approvals(text, str(policy.approved))
    return "approved" if approved else "not approved"


def _summed(plan: Plan, policy: Policy) -> str:
    groups = "all patients" if plan.evaluation.noise else "groups of patients"
    return f"{groups}, at least {policy.min_cohort}"


def _masked_words(plan: Plan) -> list[str]:
    """How scores leave under secure aggregation."""
    if masks_scores(plan):
        sites = "    under masks: the study centre sees their sum over at least "
        return [f"{sites}{plan.training.quorum} sites, each with noise of its own in it"]
    if plan.aggregation.secure:
        return ["    NOT under masks: the plan has switched their noise off ([evaluation] noise)"]
    return []


def _old_words(plan: Plan) -> list[str]:
    if plan.evaluation.replicates is None:
        return []
    return ["  ([evaluation] replicates has no effect any more: no replicate leaves)"]


def _adversary_words(plan: Plan) -> list[str]:
    evaluation, words = plan.evaluation, []
    if insider := insider_attack(plan):
        words.append(
            f"  the attack {base_name(insider)}, trained here for "
            f"{counted(evaluation.adversary_steps, 'step')} in each of "
            f"{counted(evaluation.insider_rounds, 'round')}, to attack the other sites"
        )
    if fitted := same_site_attacks(plan):
        names = ", ".join(base_name(name) for name in fitted)
        words.append(f"  what {names} get when trained on this site's patients: means only")
    return words


def _weights_words(plan: Plan, settings: SiteSettings) -> list[str]:
    if not plan.aggregation.secure:
        return ["  the weights of every arm after every round"]
    words = [
        "  the weights of every arm after every round, and their losses, under masks:",
        f"    the study centre sees the sum over at least {plan.training.quorum} sites and no "
        "site's part;",
        "    a sum may still say something of one site, and a wrong part cannot be seen either",
    ]
    try:
        secure = settings.secure
        trust = read_trust(secure.key, secure.trusted, settings.site.name)
    except InputError as error:
        return [*words, f"    NOT SET UP HERE: {error}"]
    known = (f"    {name} {fingerprint(key)}" for name, key in sorted(trust.sites.items()))
    return [*words, "  keys trusted for it; compare them with the sites by telephone:", *known]


def _release_words(plan: Plan, settings: SiteSettings) -> list[str]:
    if plan.release is None:
        return ["  no k-space and no image of any patient"]
    share = settings.policy.max_released_fraction
    listed = settings.policy.consent
    whose = (
        f"patients listed in {listed}" if listed else "no patient, because no consent list is set"
    )
    return [
        f"  sampled k-space under {plan.release.arm} at {plan.release.acceleration:g}x of {whose}",
        f"    of no patient ever more than {share:.0%} of all positions",
    ]
