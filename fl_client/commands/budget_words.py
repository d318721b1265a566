"""What a plan would cost this site's patients, in plain words, from the ledger."""

import math

from fl_client.gate.budget import spent, to_come
from fl_client.memory.ledger import Entry, read_ledger
from fl_client.settings import Policy, SiteSettings
from infomri_core.dp.accounting import epsilon, study_epsilon
from infomri_core.dp.outside_epsilon import outside_epsilon, scores_sentence
from infomri_core.plan.alone import n_trained
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import evaluation_mechanism, evaluation_noise


def privacy_words(plan: Plan, settings: SiteSettings) -> list[str]:
    """Epsilon of ``plan`` at the site of ``settings``, of all studies after it, what it does not
    cover."""
    if plan.privacy is None:
        return ["no differential privacy: the weights carry whatever training puts into them"]
    privacy, moments = plan.privacy, plan.moments
    words = [
        f"differential privacy of the weights: noise {privacy.noise_multiplier:g}, unit "
        f"{privacy.unit}, delta {privacy.delta:g}"
    ]
    if moments is not None:
        words.append(
            f"second moments of k-space leave once, before training, with noise "
            f"{moments.noise_multiplier:g}; their epsilon is counted below"
        )
    cost = _cost(plan, settings)
    outside = [f"  {what}" for what in outside_epsilon(plan)]
    return [*words, *cost, "epsilon does not cover:", *outside]


def scoring_words(plan: Plan, settings: SiteSettings) -> list[str]:
    """What scores say of one patient here, and what that does to the site's budget; of a plan that
    has switched the noise off, what a hostile study centre can do."""
    mechanism, policy = evaluation_mechanism(plan), settings.policy
    words = [f"    {scores_sentence(evaluation_noise(plan))}"]
    if mechanism is None:
        return words
    before = spent(entries_of(settings))
    now, then = (epsilon(h, policy.max_delta) for h in (before, [*before, mechanism]))
    debit = f"epsilon of all studies at this site {_up(now)} now, {_up(then)} after the scoring"
    return [*words, f"    it is debited in this site's budget: {debit}{_budget(then, policy)}"]


def _cost(plan: Plan, settings: SiteSettings) -> list[str]:
    policy, entries = settings.policy, entries_of(settings)
    alone = study_epsilon(plan, n_trained(plan), plan.training.rounds)
    before = epsilon(spent(entries), policy.max_delta)
    after = epsilon([*spent(entries), *to_come(plan, None, entries)], policy.max_delta)
    return [
        f"epsilon of this study: {_up(alone)}, at every site whatever its size",
        f"epsilon of all studies at this site: {_up(before)} now, {_up(after)} after this one, at "
        f"delta {policy.max_delta:g}{_budget(after, policy)}",
    ]


def _budget(after: float, policy: Policy) -> str:
    if policy.max_epsilon is None:
        return "; this site has set no [policy] max_epsilon"
    verdict = "refused" if after > policy.max_epsilon else "within"
    told = "; both leave with each update ([policy] report_budget)" if policy.report_budget else ""
    return f": {verdict}, the site's budget is {policy.max_epsilon:g}{told}"


def entries_of(settings: SiteSettings) -> list[Entry]:
    """The site's ledger; nothing where there is none yet."""
    path = settings.vault.state / "ledger.jsonl"
    return read_ledger(path) if path.exists() else []


def _up(value: float | None) -> str:
    """Rounded up to two decimals, as what leaves is."""
    if value is None or not math.isfinite(value):
        return "without bound"
    return f"{math.ceil(value * 100) / 100:.2f}"
