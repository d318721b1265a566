"""What is computed where the data are: the jobs of one site, on typed values.

The vault runs these behind its gate, which rounds and approves; ``infomri train`` on pooled data.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import torch

from infomri_core import __version__
from infomri_core.arms.build import load_model
from infomri_core.arms.weights import flatten
from infomri_core.audit.adversaries import load_adversaries
from infomri_core.data.base import SliceDataset
from infomri_core.dp.accounting import study_epsilon
from infomri_core.dp.dp import PrivateGradients, units_of
from infomri_core.dp.moments import moments_rules, noised_moments
from infomri_core.fitting.loop import Diverged
from infomri_core.messages import (
    AdaptTask,
    DatasetCard,
    EvaluateReply,
    EvaluateTask,
    MomentsReply,
    MomentsTask,
    ReleaseReply,
    ReleaseTask,
    SecureTask,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
)
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import same_site_attacks
from infomri_core.plan.alone import alone_arms, by_itself, n_trained
from infomri_core.plan.plan import Arm, Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.randomness.seeds import torch_generator
from infomri_core.score_noise.bounded_scores import bounded_scores
from infomri_core.site.alone import AloneArms
from infomri_core.site.evaluate import Scoring, score_cells, scored_rows
from infomri_core.site.release import keyed, permanent_id, pseudonym, release_patients
from infomri_core.site.rounded_updates import RoundedUpdates
from infomri_core.site.site_attacks import Own, chosen_rows
from infomri_core.site.slices import SlicesOnDevice
from infomri_core.site.worst_patient import WorstPatients
from infomri_core.summaries.groups import MIN_COHORT, groups_within
from infomri_core.suppression.base import Penalty
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.device import even_time, pick_device
from infomri_core.system.errors import Refused
from infomri_core.training.fit import Gradients, site_stretch, train_steps
from infomri_core.training.momentum import began, global_momentum
from infomri_core.training.optimizer_store import OptimizerStore, Witness
from infomri_core.training.target import targeted

Cancelled = Callable[[], bool]
log = logging.getLogger(__name__)


@final
class Site:
    """The data of one site and the jobs that run on them.

    ``directory`` keeps optimizer state between rounds. Images up to 4 GiB are held on ``device``.
    ``secret`` keys the groups of at least ``min_cohort`` patients that scores are summed over.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        name: str,
        directory: Path,
        device: str = "cpu",
        secret: str = "",
        min_cohort: int = MIN_COHORT,
        trained: Witness = lambda plan, number: False,
    ) -> None:
        self.name, self._dataset = name, dataset
        self._device, self._directory = torch.device(device), directory
        self._store = OptimizerStore(directory, trained)
        self._alone, self._rounded = AloneArms(self._store), RoundedUpdates(self._store)
        self._secret, self._min_cohort = secret, min_cohort
        self._train = np.flatnonzero(dataset.table.split == "train")
        self._slices = SlicesOnDevice(dataset, self._device)

    @even_time()
    def run(self, plan: Plan, task: SiteTask, cancelled: Cancelled) -> SiteReply:
        """Do one task of the closed list. Raises ``Refused``, or ``Cancelled`` between steps."""
        if isinstance(task, MomentsTask):
            return self.moments(plan, task, cancelled)
        if isinstance(task, TrainTask):
            return self.train(plan, task, cancelled)
        if isinstance(task, AdaptTask):
            self._check_training(plan)
            return self._own(plan, task.arms, ("adapt", task.round), cancelled).adapt(task)
        if isinstance(task, EvaluateTask):
            return self.evaluate(plan, task, cancelled)
        if isinstance(task, ReleaseTask):
            raise Refused("consent", "this site releases no k-space")
        if isinstance(task, SecureTask):
            raise Refused("secure-aggregation", "there is no vault here to make keys")
        return self.enrol(plan)

    def enrol(self, plan: Plan) -> DatasetCard:
        """The site's exact counts. ``Refused("data")`` when the task cannot be learned here."""
        self._check(plan)
        table = self._dataset.table
        found = plan.task.findings(table)
        return DatasetCard(
            site=self.name,
            n_patients=len(np.unique(table.patients)),
            n_slices=len(table),
            n_positive=found.slices,
            shape=self._dataset.shape,
            labels=found.names,
            versions={"infomri": __version__, "torch": torch.__version__},
        )

    def moments(self, plan: Plan, task: MomentsTask, cancelled: Cancelled) -> MomentsReply:
        """Noised second moments of the training patients' k-space about the task's mean."""
        self._check_training(plan)
        units = self._units(plan)
        total = noised_moments(
            moments_rules(plan),
            units,
            lambda batch: self._slices.images(self._train[batch]),
            torch.from_numpy(task.mean).to(self._device),
            SecretStream.fresh(self._secret),
            cancelled,
        )
        return MomentsReply(total.cpu().numpy(), len(units), study_epsilon(plan, 0, 0))

    def train(self, plan: Plan, task: TrainTask, cancelled: Cancelled) -> TrainReply:
        """One round of local steps for every arm in the task, then of those trained here alone."""
        self._check_training(plan)
        lost = self._rounded.lost(plan, task.arms, task.round - 1)
        variance = torch.from_numpy(task.variance.astype(np.float32)).to(self._device)
        factors = None if task.factors is None else torch.from_numpy(task.factors).to(self._device)
        known = (variance, factors, plan.measurement.noise_std)
        arms, losses = dict[str, np.ndarray](), dict[str, dict[str, float]]()
        dropped: list[str] = []
        for name, flat in task.arms.items():
            try:
                penalty = build_suppression(plan.arm(name).suppression, *known)
                asked = (plan, plan.arm(name), task.round, penalty, cancelled)
                arms[name], losses[name] = self._train_arm(*asked, flat, name)
            except Diverged as error:
                log.warning("arm %s diverged in round %d: %s", name, task.round, error)
                dropped.append(name)
                self._store.save(plan.digest, name, task.round, {})
        for arm in alone_arms(plan, task.arms):
            apart = (by_itself(plan), arm, task.round, build_suppression(arm.suppression, *known))
            self._alone.train(plan, arm, task, arms, partial(self._train_arm, *apart, cancelled))
        told = losses if plan.privacy is None or plan.privacy.losses else {}
        spent = study_epsilon(plan, n_trained(plan, task.arms), task.round)
        given = (len(self._train), self._rounded.of(plan, task, arms), told, tuple(dropped), spent)
        return TrainReply(*given, lost_state=lost, precision=plan.aggregation.precision)

    def evaluate(self, plan: Plan, task: EvaluateTask, cancelled: Cancelled) -> EvaluateReply:
        """Scores of every arm and attack on the validation patients. Who was rebuilt best is
        written beside the optimizer's state, and is in no reply."""
        self._check(plan)
        indices = self.scored(plan)
        adversaries = load_adversaries(task.attacks, plan.task.shape, self._device)
        if same_site_attacks(plan):
            self._own(plan, task.arms, ("same-site",), cancelled).join(adversaries)
        table = self._dataset.table.take(indices)
        worst = WorstPatients(lambda patient: permanent_id(self._secret, patient))
        bounded = bounded_scores(plan, task, table) if plan.evaluation.noise else None
        scoring = Scoring(
            *(plan, table, self._slices.fetch(plan.task, indices), adversaries),
            *(self.groups(plan), (plan.study.seed, self.name), cancelled, worst),
        )
        models = ((n, load_model(plan, n, f).to(self._device)) for n, f in task.arms.items())
        alone = self._alone.models(plan, task, self._device)
        scores, sums = score_cells(scoring, models, bounded, alone)
        worst.write(self._directory, plan)
        given = (self.n_scored_patients(plan), scores, None, adversaries.failed, sums)
        return EvaluateReply(*given, task=plan.task.kind)

    def noise(self, *context: str) -> SecretStream:
        """The noise of one answer, the same for the same ``context``: question and data."""
        return SecretStream.derived(self._secret, "evaluation", *context)

    @even_time()
    def release(
        self, plan: Plan, task: ReleaseTask, patients: Sequence[str], cancelled: Cancelled
    ) -> ReleaseReply:
        """Sampled k-space of the scored slices of ``patients``."""
        self._check(plan)
        asked = (plan, task, self._dataset, self.scored(plan), patients)
        return release_patients(*asked, self._secret, cancelled)

    def names(self, plan: Plan, patients: Sequence[str]) -> dict[str, str]:
        """The permanent id of each patient in the ledger, by its pseudonym in this study."""
        key, study = self._secret, plan.study.name
        return {pseudonym(key, study, p): permanent_id(key, p) for p in patients}

    @property
    def key_id(self) -> str:
        """Tells one site secret from another without telling anything of it."""
        return keyed(self._secret, "key id")[:16]

    def scored(self, plan: Plan) -> np.ndarray:
        """Rows of the validation slices that the plan has scored."""
        return scored_rows(plan, self._dataset.table)

    def groups(self, plan: Plan) -> np.ndarray:
        """The group of each slice of :meth:`scored`, by the site's fixed partition."""
        val = np.flatnonzero(self._dataset.table.split == "val")
        rows = np.searchsorted(val, self.scored(plan))
        patients = self._dataset.table.patients[val]
        return groups_within(patients, rows, self._secret, self._min_cohort)

    def n_scored_patients(self, plan: Plan) -> int:
        """Patients behind every figure of :meth:`evaluate`."""
        return len(np.unique(self._dataset.table.patients[self.scored(plan)]))

    def _train_arm(
        self,
        plan: Plan,
        arm: Arm,
        round_number: int,
        penalty: Penalty,
        cancelled: Cancelled,
        flat: np.ndarray,
        kept_as: str,
    ) -> tuple[np.ndarray, dict[str, float]]:
        model = load_model(plan, arm.name, flat).to(self._device)
        stretch = site_stretch(plan, self.name, arm.seed, round_number)
        begun = self._store.load(plan.digest, kept_as, round_number - 1)
        begun = global_momentum(model, plan, begun, stretch.first)
        penalty = targeted(plan, arm, penalty, begun)
        losses, state = train_steps(
            *(model, plan, arm.beta, penalty, len(self._train)),
            *(self._slices.fetch(plan.task, self._train), stretch, begun, cancelled),
            self._private(plan, penalty),
        )
        weights = flatten(model)
        if not np.isfinite(weights).all():
            raise Diverged("its weights")
        state |= penalty.kept() | began(plan, flat)
        self._store.save(plan.digest, kept_as, round_number, state)
        return weights, losses

    def _own(
        self, plan: Plan, arms: Arrays, stream: tuple[str | int, ...], cancelled: Cancelled
    ) -> Own:
        """The site's training images, for an attack to be trained on."""
        rows = chosen_rows(self._train)
        models = [load_model(plan, name, flat).to(self._device) for name, flat in arms.items()]
        return Own(
            plan,
            self._slices.images(rows),
            self._dataset.table.patients[rows],
            [model.sampler for model in models],
            torch_generator(plan.study.seed, self.name, *stream, device=self._device),
            cancelled,
        )

    def _private(self, plan: Plan, penalty: Penalty) -> Gradients | None:
        """DP-SGD where the plan asks for it, with noise that no one can foretell or repeat."""
        if plan.privacy is None:
            return None
        known = (self._units(plan), self._slices.fetch(plan.task, self._train))
        return PrivateGradients(plan, penalty, *known, SecretStream.fresh(self._secret))

    def _units(self, plan: Plan) -> list[np.ndarray]:
        return units_of(plan, self._dataset.table.patients[self._train])

    def _check_training(self, plan: Plan) -> None:
        self._check(plan)
        if len(self._train) == 0:
            raise Refused("data", "this site has no training slices")

    def _check(self, plan: Plan) -> None:
        found = plan.task.mismatch(self._dataset)
        if found is not None:
            sentence = f"the plan expects {found.what} {found.expected}, this site has {found.got}"
            raise Refused("data", sentence)


def open_site(
    dataset: SliceDataset,
    name: str,
    directory: Path,
    device: str = "auto",
    secret: str = "",
    min_cohort: int = MIN_COHORT,
    trained: Witness = lambda plan, number: False,
) -> Site:
    """A site on ``device`` ("auto" takes CUDA where there is one)."""
    return Site(dataset, name, directory, pick_device(device), secret, min_cohort, trained)
