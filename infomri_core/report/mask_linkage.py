"""What the masks of samplers that decide as they measure tell of patients, in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from infomri_core.report import html as h
from infomri_core.results.frontier import Row, labels
from infomri_core.sampling.registry import tells_of_patient

META = "mask_linkage"
"""Where a study's meta holds what linkage by the mask found, one entry an arm and acceleration."""
_WHY = (
    "These arms decide as they measure, so where they measure depends on the patient. Their "
    "masks are kept like measurements: no plan may release k-space of such an arm, and no mask of "
    "theirs can be exported. An entropy that takes the mask for independent of the image does "
    "not hold for them."
)
_CAPTION = (
    "Someone who holds candidate scans and the trained sampler sees a mask, and no value of "
    "k-space; on the study centre's held-out patients. Guessing: rank 1 = 1/candidates, AUC 0.5."
)


def mask_linkage(rows: Sequence[Row], meta: Mapping[str, Any]) -> list[str]:
    """The paragraph and the table; nothing where every mask is drawn without a look."""
    known = labels(rows)
    named = {row.arm: known[row.arm] for row in rows if tells_of_patient(row.sampler)}
    if not named:
        return []
    lines = [
        [
            h.Cell(named.get(str(entry["arm"]), str(entry["arm"]))),
            h.Cell(f"{float(entry['acceleration']):g}x", style="n"),
            *(_cell(entry.get(key), key) for key in ("same_rank1", "same_auc")),
            *(_cell(entry.get(key), key) for key in ("other_rank1", "other_auc")),
            h.Cell(f"{float(entry['candidates']):.0f}", style="n"),
        ]
        for entry in meta.get(META) or []
    ]
    headers = ["Arm", "Acceleration", "Same scan: rank 1", "AUC", "Another slice: rank 1", "AUC"]
    table = [h.table([*headers, "Candidates"], lines, _CAPTION)] if lines else []
    return [h.paragraphs([_WHY]), *table]


def mask_sentence(row: Row, meta: Mapping[str, Any]) -> str:
    """What the mask of the row's arm tells, in words; '' where it tells nothing."""
    if not tells_of_patient(row.sampler):
        return ""
    found = [
        entry
        for entry in meta.get(META) or []
        if (entry["arm"], entry["acceleration"]) == (row.arm, row.acceleration)
    ]
    share = found[0].get("same_rank1") if found else None
    told = "Its mask depends on what it measures, and so tells of the patient"
    if share is None:
        return f"{told}; how much was not measured."
    n = float(found[0]["candidates"])
    return (
        f"{told}: from the mask alone, someone who holds {n:.0f} candidate scans finds "
        f"{float(share):.0%} of the patients (guessing: {1 / n:.0%})."
    )


def _cell(value: float | None, key: str) -> h.Cell:
    form = "{:.0%}" if key.endswith("rank1") else "{:.2f}"
    return h.Cell("-" if value is None else form.format(value), style="n")
