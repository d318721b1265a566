"""Insiders: the other sites of a study train the attack further that one of them will face."""

from collections.abc import Mapping, Sequence

import numpy as np

from fl_server.aggregation.mean import WeightedMean
from fl_server.audit.adversaries import FittedAudit
from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import deadline
from infomri_core.messages import AdaptReply, AdaptTask
from infomri_core.messages.adapt import NETWORK
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import base_name, insider_attack
from infomri_core.system.errors import InputError

ALL = "all"


def train_insiders(
    context: StudyContext, state: State, fitted: FittedAudit, nodes: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """For each node its insiders' attack, as arrays: the sample-weighted mean of what the *other*
    nodes made of the public one, over the plan's ``insider_rounds``.

    A node that no other answered for is absent.
    """
    name = insider_attack(context.plan)
    public = fitted.adversaries.attacks.get(base_name(name)) if name else None
    if public is None:
        return {}
    if len(nodes) < 2:
        context.progress.report("attack", "no insider's attack: it needs two sites")
        return {}
    arrays = public.to_arrays()
    start = {key: a for key, a in arrays.items() if not key.startswith(NETWORK)}
    first = {key: a for key, a in arrays.items() if key.startswith(NETWORK)}
    networks: dict[str, Arrays] = dict.fromkeys(nodes, first)
    for number in range(1, context.plan.evaluation.insider_rounds + 1):
        networks = _train(context, state, start, networks, number)
    context.progress.report(
        "attack", f"insiders trained {base_name(name or '')} at {len(nodes)} sites"
    )
    return {node: {**start, **network} for node, network in networks.items()}


def _train(
    context: StudyContext, state: State, start: Arrays, networks: Mapping[str, Arrays], number: int
) -> dict[str, Arrays]:
    """One round: each node trains what will attack the others."""
    plan = context.plan
    same = len({id(network) for network in networks.values()}) == 1
    tasks = {}
    for trainer in context.roster.participants(plan.training.rounds):
        others = {node: network for node, network in networks.items() if node != trainer}
        groups = {ALL: next(iter(networks.values()))} if same else others
        if groups:
            tasks[trainer] = AdaptTask(
                plan.text, number, deadline(plan), state.arms, start, groups
            )
    means = {node: _Mean() for node in networks}
    for trainer, reply in context.sites.ask_each(tasks):
        if not isinstance(reply, AdaptReply) or not _fits(reply, tasks[trainer]):
            context.roster.report_refusal(trainer, reply, number)
            continue
        try:
            for node, mean in means.items():
                if node != trainer:
                    mean.add(reply.networks[ALL if same else node], reply.n_samples)
        except InputError as error:
            context.progress.report("refused", f"attack of {trainer} not used: {error}")
    return {node: mean.value() for node, mean in means.items() if mean.n_samples}


def _fits(reply: AdaptReply, task: AdaptTask) -> bool:
    """Whether these are the networks that were asked for, finite, of at least one sample."""
    forms = [
        {(group, name, a.dtype, a.shape) for group, n in networks.items() for name, a in n.items()}
        for networks in (reply.networks, task.networks)
    ]
    finite = all(np.isfinite(a).all() for n in reply.networks.values() for a in n.values())
    return forms[0] == forms[1] and finite and 0 < reply.n_samples < 2**40


class _Mean:
    """A sample-weighted mean of named arrays, in fixed point: the order of arrivals is nothing."""

    def __init__(self) -> None:
        self.n_samples = 0
        self._means: dict[str, WeightedMean] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, network: Arrays, n_samples: int) -> None:
        """Raises ``InputError``, and adds nothing, when a value is too large for the sum."""
        flat = {name: a.astype(np.float32).ravel() for name, a in network.items()}
        means = self._means or {name: WeightedMean(len(array)) for name, array in flat.items()}
        for name, array in flat.items():
            means[name].check(array, n_samples)
        for name, array in flat.items():
            means[name].add(array, n_samples)
        self._means, self._shapes = means, {name: a.shape for name, a in network.items()}
        self.n_samples += n_samples

    def value(self) -> dict[str, np.ndarray]:
        shapes = sorted(self._shapes.items())
        return {name: self._means[name].value().reshape(shape) for name, shape in shapes}
