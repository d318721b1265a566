"""What makes an arm of a plan impossible."""

from infomri_core.plan.evaluation_rules import Rule
from infomri_core.plan.plan import Plan
from infomri_core.suppression.registry import SUPPRESSIONS, of_masks, suppression_class
from infomri_core.tasks.objective import IMAGE_ONLY

NO_SUPPRESSION = "none"


def arm_rules(plan: Plan) -> list[Rule]:
    """What makes the plan's arms impossible."""
    names = [arm.name for arm in plan.arms]
    rules: list[Rule] = [
        (1 <= len(names) <= 64, "[[arms]]", "1 .. 64 arms", len(names)),
        (len(set(names)) == len(names), "[[arms]]", "no two arms alike", sorted(names)),
    ]
    for i, arm in enumerate(plan.arms):
        learned = arm.options.learns
        own = arm.options.rules(plan.setting)
        rules += [
            *((ok, f"[[arms]] {i} {key}", expected, got) for ok, key, expected, got in own),
            (
                arm.suppression in (*SUPPRESSIONS, NO_SUPPRESSION),
                f"[[arms]] {i} suppression",
                " | ".join([*SUPPRESSIONS, NO_SUPPRESSION]),
                arm.suppression,
            ),
            (
                abs(arm.beta) < 1e6 or arm.beta == IMAGE_ONLY,
                f"[[arms]] {i} beta",
                "-10^6 .. 10^6, or '-inf'",
                arm.beta,
            ),
            (plan.task.serves(arm.beta), f"[[arms]] {i} beta", plan.task.served, arm.beta),
            (
                arm.beta <= 0 or (learned and arm.suppression != "none"),
                f"[[arms]] {i} beta",
                "beta > 0 only with a sampler that learns and a suppression",
                f"{arm.sampler}, {arm.suppression}, {arm.beta}",
            ),
            (
                arm.suppression == "none" or not arm.options.of_patient,
                f"[[arms]] {i} suppression",
                "none with a sampler that decides as it measures: suppressions know masks that "
                "do not depend on the image",
                arm.suppression,
            ),
            (
                plan.privacy is None or not arm.options.of_patient,
                f"[[arms]] {i} sampler",
                "a mask drawn before anything is measured with [privacy]: a sample's gradient "
                "through a sampler that decides as it measures is not known",
                arm.sampler,
            ),
            (
                plan.privacy is None or arm.options.straight_through,
                f"[[arms]] {i} sampler",
                "a sampler whose gradient goes straight through its masks with [privacy]",
                arm.sampler,
            ),
            (
                not learned or plan.task.teaches_samplers(plan.model),
                f"[[arms]] {i} sampler",
                "one that does not learn with [model] reconstructor = "
                f"'{plan.model.reconstructor}': it would learn from points that were not measured",
                arm.sampler,
            ),
            (
                arm.beta >= 0 or arm.suppression == "none",
                f"[[arms]] {i} suppression",
                "none with beta < 0, which asks for the image that a suppression hides",
                arm.suppression,
            ),
            (
                plan.constraint == "2d" or arm.suppression in ("marginal", "none"),
                f"[[arms]] {i} suppression",
                "marginal or none with [measurement] constraint = '1d': the others know the slope "
                "of single points, not of columns",
                arm.suppression,
            ),
            (
                plan.privacy is None or of_masks(arm.suppression),
                f"[[arms]] {i} suppression",
                "one of masks alone with [privacy], such as attack: what is trained on patients "
                "beside the arm stands outside epsilon",
                arm.suppression,
            ),
            (
                arm.psnr_target is None or (_in_db(arm.suppression) and arm.beta > 0),
                f"[[arms]] {i} psnr_target",
                "a suppression of masks alone whose figure is in dB, such as attack",
                arm.suppression,
            ),
            (
                5 <= (arm.psnr_target or 5) <= 50,
                f"[[arms]] {i} psnr_target",
                "5 .. 50 dB",
                arm.psnr_target,
            ),
            (0 <= arm.seed < 2**32, f"[[arms]] {i} seed", "0 .. 2^32 - 1", arm.seed),
        ]
    return rules


def _in_db(suppression: str) -> bool:
    """Whether its figure is a PSNR, so that a target in dB can take the place of beta."""
    if suppression not in SUPPRESSIONS:
        return False
    return of_masks(suppression) and suppression_class(suppression).unit == "dB"
