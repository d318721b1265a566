"""The privacy report: one HTML file, complete in itself, that a hospital can file."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from infomri_core.dp.outside_epsilon import summed_sentence, weights_sentences
from infomri_core.report import html as h
from infomri_core.report import tables
from infomri_core.report.first_page import first_page, in_words
from infomri_core.report.mask_linkage import mask_linkage
from infomri_core.report.trainings import training_table
from infomri_core.report.verdict import verdict
from infomri_core.report.weights import weights
from infomri_core.report.words import ADVERSARIES, METHOD, OUTSIDE
from infomri_core.results.frontier import Row, answer_in, utility_of
from infomri_core.system.files import write_atomically


def write_report(
    path: Path,
    rows: Sequence[Row],
    meta: Mapping[str, Any],
    figures: Mapping[str, Path] | None = None,
) -> Path:
    """Write the report on ``rows`` to ``path``, atomically, and return ``path``.

    ``meta`` is that of ``results.json``; what it does not hold is left out. ``figures``: image
    files (.png, .svg) by caption, embedded in this order.
    """
    write_atomically(path, render(rows, meta, figures or {}).encode())
    return path


def render(rows: Sequence[Row], meta: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    """The report as HTML. Every text from ``rows`` and ``meta`` is escaped."""
    template = resources.files("infomri_core.report").joinpath("report.html").read_text("utf-8")
    study = str(meta.get("study", "unnamed study"))
    found, answer = verdict(rows, meta), answer_in(rows)
    body = [
        first_page(found, rows, meta),
        in_words(found),
        h.section("The study", h.facts(_study(rows, meta))),
        h.section("What each adversary can learn", _adversaries()),
        h.section("What protected weights and scores", h.paragraphs(weights_sentences(meta))),
        h.section("Outside the guarantee", h.bullets(OUTSIDE)),
        h.section(f"{answer.capitalize()} against what attackers rebuild", tables.frontier(rows)),
        h.section("Suppression against measuring less", tables.measuring_less(rows, meta)),
        h.section("What federation is worth", training_table(rows)),
        h.section("Differences", _differences(rows, meta)),
        h.section("Figures", *(h.picture(path, text) for text, path in figures.items())),
        h.section("Three strengths of adversary", tables.adversaries_by_knowledge(rows)),
        h.section("Every attack", tables.attacks(rows)),
        h.section("The attackers' own test", *_certificates(meta)),
        h.section("Each site", _sites(rows, meta)),
        h.section("Matching a measurement with candidate scans", *_linkage(rows)),
        h.section("Masks that tell of the patient", *mask_linkage(rows, meta)),
        h.section("Attacks on weights and updates", *weights(meta.get("weights") or {})),
        h.section("Method", h.paragraphs([text.format(answer=answer) for text in METHOD])),
        h.section("Seeds, versions, identity", h.facts(_identity(meta))),
    ]
    return Template(template).substitute(
        title=h.escape(study),
        subtitle=h.escape(_subtitle(study, meta)),
        body="\n".join(part for part in body if part),
    )


def _subtitle(study: str, meta: Mapping[str, Any]) -> str:
    made = meta.get("created")
    of = f"Study {study}, plan {str(meta.get('plan_sha256', 'unknown'))[:12]}"
    return f"{of}, audited {made}" if made else of


def _adversaries() -> str:
    cells = [[h.Cell(text) for text in adversary] for adversary in ADVERSARIES]
    return h.table(["Adversary", "Can", "Cannot"], cells)


def _differences(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    return tables.differences(meta.get("differences") or [], utility_of(rows))


def _sites(rows: Sequence[Row], meta: Mapping[str, Any]) -> str:
    summed, found = summed_sentence(meta), meta.get("per_site") or []
    return h.paragraphs([summed]) if summed else tables.sites(found, utility_of(rows))


def _study(rows: Sequence[Row], meta: Mapping[str, Any]) -> dict[str, object]:
    sites = meta.get("sites") or {}
    scored_on = meta.get("scored_on") or ", ".join(
        f"{name} ({n} patients)" for name, n in sites.items()
    )
    return {
        "Study": meta.get("study", ""),
        "Scored on": scored_on,
        "Labels": h.plain(list(meta.get("labels") or [])),
        "Arms": h.plain(list(dict.fromkeys(row.arm for row in rows))),
        "Accelerations": ", ".join(f"{a:g}x" for a in sorted({r.acceleration for r in rows})),
        "Noise of a measurement": _sigma(meta),
        "Attackers fitted on": f"{meta['n_audit']} audit slices" if "n_audit" in meta else "",
        "Arms dropped": h.plain(
            [f"{k}: {v}" for k, v in (meta.get("dropped_arms") or {}).items()]
        ),
        "Attacks that failed": h.plain(
            [f"{k}: {v}" for k, v in (meta.get("failed_attacks") or {}).items()]
        ),
        "Attacks that broke down at a site": h.plain(
            [
                f"{site}: {', '.join(f'{name} ({why})' for name, why in names.items())}"
                for site, names in (meta.get("failed_at_sites") or {}).items()
            ]
        ),
        "Optimizer state lost": h.plain(
            [
                f"before round {lost['round']} at {lost['site']}: {', '.join(lost['arms'])} "
                "continued with a fresh optimizer, so the weights are not those of an "
                "undisturbed study"
                for lost in meta.get("lost_state") or []
            ]
        ),
        "Caution": meta.get("caution", ""),
    }


def _sigma(meta: Mapping[str, Any]) -> str:
    sigma = meta.get("noise_std")
    return "" if sigma is None else f"sigma = {sigma:g} in real and imaginary part"


def _certificates(meta: Mapping[str, Any]) -> list[str]:
    parts = [tables.certificates(meta.get("certificates") or {})]
    budgets = meta.get("attack_budgets") or {}
    if budgets:
        parts += [h.heading("What each learned attacker was given"), h.facts(h.nested(budgets))]
    return parts


def _linkage(rows: Sequence[Row]) -> list[str]:
    content = tables.linkage(rows)
    if not content:
        return []
    words = (
        "Someone who holds candidate scans need not rebuild an image: it is enough to recognise "
        "one. PSNR cannot see this. Rank 1 is the share of measurements whose own scan is the "
        "best match among the candidates; an AUC of 0.5 is guessing."
    )
    return [h.paragraphs([words]), content]


def _identity(meta: Mapping[str, Any]) -> dict[str, object]:
    versions = meta.get("versions") or {}
    privacy = {f"Privacy: {k}": v for k, v in h.nested(meta.get("privacy") or {}).items()}
    return {
        "Plan sha256": meta.get("plan_sha256", ""),
        "Submitted by": ", ".join(meta.get("submitted_by") or []),
        "Seed of the study": meta.get("seed", ""),
        "Rounds of training": len(meta.get("rounds") or []) or "",
        **privacy,
        **{f"Version of {name}": version for name, version in versions.items()},
    }
