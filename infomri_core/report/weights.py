"""The privacy report on attacks on weights and updates: a sentence and a table each."""

from collections.abc import Mapping
from typing import Any

from infomri_core.report import html as h

POPULATION = (
    "These attacks were made at the study centre on its own audit patients: models were trained, "
    "and updates made, with this study's plan. They say what such weights and updates can give "
    "away; no site's patient was attacked, so they are no measurement of this study's own model."
)
TITLES = {
    "dp": "Does differential privacy hold what it promises? (one-run audit)",
    "membership": "Was this patient in the training data? (membership inference)",
    "inversion": "An image out of one site's update (gradient inversion)",
    "label_inference": "Labels out of one site's update",
    "site_inference": "Which site an update came from",
}
CONTROL_AUC = 0.6


def weights(found: Mapping[str, Any]) -> list[str]:
    """The parts of the section; [] where nothing was attacked."""
    if not found:
        return []
    parts = [h.paragraphs([POPULATION])]
    for key, values in found.items():
        parts.append(h.heading(TITLES.get(key, str(key))))
        if isinstance(values, Mapping) and "note" in values:
            parts.append(h.paragraphs([f"Not done: {values['note']}."]))
        elif isinstance(values, Mapping):
            parts.append(_SHOWN.get(key, _facts)(values))
        else:
            parts.append(h.paragraphs([h.plain(values)]))
    return parts


def _dp(v: Mapping[str, Any]) -> str:
    bound, accounted = v.get("epsilon_lower_bound"), v.get("epsilon_accounted")
    if bound is None or accounted is None:
        return _facts(v)
    control = v.get("control") or {}
    holds = bound <= accounted
    text = (
        f"Canaries of the strongest kind known, {v.get('canaries')}, each in the training or not "
        f"by a coin, prove that epsilon is at least {bound:.2f} (95 % confidence); the accountant "
        f"says at most {accounted:.2f} at delta {v.get('delta')}. "
    )
    text += (
        "Nothing contradicts the guarantee: a lower bound below the accounted epsilon is no proof "
        "of it, but an error in noise, clipping or sampling can show here."
        if holds
        else "The proof is ABOVE the accounted epsilon: the guarantee does not hold as stated. "
        "Do not rely on it."
    )
    won = control.get("epsilon_lower_bound")
    if won is not None:
        text += (
            f" With hardly any noise the same audit proves {won:.2f} of at most "
            f"{control.get('largest_provable', won):.2f} that it can prove"
        )
        text += "." if won > 1 else ": it is weak, and says nothing about privacy."
    facts = {
        "Epsilon proved, at least": bound,
        "Epsilon accounted for the same training, at most": accounted,
        "Epsilon of the study, at most": v.get("epsilon_of_the_study"),
        "Protected": v.get("unit"),
        "Noise multiplier, clip": [v.get("noise_multiplier"), v.get("clip")],
        "Sampling rate": v.get("sampling_rate"),
        "Steps, of those of the study": f"{v.get('steps')} of {v.get('steps_of_the_study')}",
        "Guesses right": f"{v.get('guesses_right')} of {v.get('guesses')}",
    }
    return h.paragraphs([text]) + h.facts({k: h.plain(x) for k, x in facts.items()})


def _membership(v: Mapping[str, Any]) -> str:
    control = v.get("control") or {}
    attacks = [key for key in ("rmia", "lira") if isinstance(v.get(key), Mapping)]
    if not attacks:
        return _facts(v)
    won = max((control[k].get("auc") or 0.0 for k in attacks if k in control), default=0.0)
    words = [
        "An AUC of 0.5 is guessing. A true positive rate needs 100 non-members at 1 % and 1000 at "
        "0.1 % false positives; with fewer it is undefined, not zero."
    ]
    if control and won < CONTROL_AUC:
        words.append(
            f"The control, an overfitted net on {control.get('members')} slices, was not told "
            f"apart either (AUC {won:.2f}): the attack is weak, and its figures are no evidence "
            "of privacy."
        )
    lines = []
    for title, part in (("trained as in the study", v), ("control: overfitted", control)):
        for key in attacks:
            if key in part:
                lines.append(_membership_line(title, key, part))
    headers = ["Net", "Attack", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"]
    headers += ["Members", "Non-members"]
    trained = " under the plan's DP-SGD" if v.get("dp") else " without DP"
    caption = f"The net as in the study was trained {v.get('steps')} steps{trained}."
    return h.paragraphs(words) + h.table(headers, lines, caption)


def _membership_line(title: str, key: str, part: Mapping[str, Any]) -> list[h.Cell]:
    figures = part[key]
    rates = [figures.get(f"tpr_at_{p}_percent_fpr") for p in ("1", "0.1")]
    shown = ["undefined" if rate is None else f"{rate:.1%}" for rate in rates]
    counts = [str(part.get(name, "")) for name in ("members", "non_members")]
    numbers = [_number(figures.get("auc"), "{:.2f}"), *shown, *counts]
    return [h.Cell(title), h.Cell(key.upper()), *(h.Cell(n, style="n") for n in numbers)]


def _inversion(v: Mapping[str, Any]) -> str:
    cases = [case for case in v.get("cases") or () if isinstance(case, Mapping)]
    if not cases:
        return _facts(v)
    words = [
        "The server tries to rebuild images from one update of plain SGD, its best case: the "
        "sites train with Adam, many steps a round, which hides more. What the mask kept out of "
        "the measurement is in no update: the last column is about as far as an attacker gets."
    ]
    if not v.get("convincing"):
        words.append(
            "The control (one image, one step, all of k-space measured) was not rebuilt here: the "
            "attack is weak on this network, and its low PSNR is not evidence of privacy."
        )
    headers = ["Images", "Local steps", "Measured", "Masks", "DP-SGD", "Attack", "PSNR, dB"]
    headers += ["SSIM", "No update", "The measurement"]
    caption = (
        f"Update at {v.get('acceleration'):g}x, one row a setting. 'No update': the mean image; "
        "'the measurement': LMMSE of y itself. 'not matched': the search ended far from the "
        "update."
    )
    left = v.get("cases_left_out")
    if left:
        caption += f" {left} settings were left out: the time limit was reached."
    return h.paragraphs(words) + h.table(headers, [_inversion_line(c) for c in cases], caption)


def _inversion_line(case: Mapping[str, Any]) -> list[h.Cell]:
    noise = case.get("noise_multiplier")
    note = "" if case.get("matched") else "not matched"
    return [
        h.Cell(str(case.get("batch_size")), style="n"),
        h.Cell(str(case.get("local_steps")), style="n"),
        h.Cell("all (control)" if case.get("control") else "by the mask"),
        h.Cell("known" if case.get("knows_masks", True) else "unknown"),
        h.Cell("none" if noise is None else f"noise {noise:g}"),
        h.Cell(str(case.get("attack", "")), note),
        h.Cell(_number(case.get("psnr"), "{:.1f}"), style="n"),
        h.Cell(_number(case.get("ssim"), "{:.2f}"), style="n"),
        h.Cell(_number(case.get("psnr_without_update"), "{:.1f}"), style="n"),
        h.Cell(_number(case.get("psnr_of_measurement"), "{:.1f}"), style="n"),
    ]


def _labels(v: Mapping[str, Any]) -> str:
    facts = {
        "Images in the update": v.get("batch_size"),
        "Error of the share of each label": _number(v.get("proportion_error"), "{:.1%}"),
        "The same without the update": _number(v.get("proportion_error_without_update"), "{:.1%}"),
        "Which labels are there: right": _number(v.get("presence_right"), "{:.0%}"),
        "The same without the update ": _number(v.get("presence_right_without_update"), "{:.0%}"),
    }
    return h.paragraphs(
        ["How many of a batch's images bear each label, read from one gradient."]
    ) + h.facts(facts)


def _sites(v: Mapping[str, Any]) -> str:
    text = (
        f"Of {v.get('updates')} updates of {v.get('sites')} simulated sites that differ in case "
        f"mix, {_number(v.get('accuracy'), '{:.0%}')} were given to the right site; guessing "
        f"gives {_number(v.get('chance'), '{:.0%}')}."
    )
    return h.paragraphs([text])


def _facts(v: Mapping[str, Any]) -> str:
    return h.facts(h.nested(v))


def _number(value: Any, form: str) -> str:
    return "-" if value is None else form.format(float(value))


_SHOWN = {
    "dp": _dp,
    "membership": _membership,
    "inversion": _inversion,
    "label_inference": _labels,
    "site_inference": _sites,
}
