"""Labels of slices: from arrays of a slice archive, and from fastMRI+ annotation tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from infomri_core.system.errors import InputError

MAX_CLASSES = 1000
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Labels:
    """``values`` (n, L) uint8 multi-hot; ``exclusive``: exactly one holds in each row."""

    values: np.ndarray
    names: tuple[str, ...]
    exclusive: bool


def array_labels(
    column: np.ndarray, where: str, names: tuple[str, ...] = (), exclusive: bool = False
) -> Labels:
    """Labels from an array: (n, L) multi-hot; (n,) of 0/1, one label (two classes when
    ``exclusive``); (n,) class ids; (n,) class names.

    ``names`` fixes the labels and their order; without it classes are counted in the column.
    """
    if column.dtype.kind in "OSU":
        return _class_names(column.astype(str), where, names)
    numbers = column.dtype.kind in "uibf" and np.isfinite(column).all()
    if not numbers or (column.dtype.kind == "f" and (column != np.round(column)).any()):
        raise InputError(where, "whole numbers or names", f"{column.dtype} values", "correct them")
    values = column.astype(np.int64)
    if values.ndim == 2:
        return _multi_hot(values, where, names)
    if values.ndim != 1:
        raise InputError(where, "shape (n,) or (n, L)", f"{values.shape}", "reshape the labels")
    if values.max(initial=0) <= 1 and len(names) <= 1 and not exclusive:
        return _multi_hot(values[:, None], where, names or ("positive",))
    return _class_ids(values, where, names)


def stored_names(attribute: Any, where: str) -> tuple[str, ...]:
    """Names of labels as an attribute keeps them: one text or several."""
    if attribute is None:
        return ()
    values = np.asarray(attribute)
    if values.dtype.kind not in "OSU" or values.ndim > 1:
        got = f"{values.dtype} {values.shape}"
        raise InputError(f"{where} attribute 'names'", "one text a label", got, "store texts")
    return tuple(
        v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)
        for v in values.reshape(-1).tolist()
    )


def stored_exclusive(attribute: Any, where: str) -> bool:
    """A truth as an attribute keeps it: a bool, 0 or 1, or a word for yes or no."""
    if attribute is None:
        return False
    value = attribute.decode("utf-8", "replace") if isinstance(attribute, bytes) else attribute
    try:
        return _TRUTH[str(value).strip().lower()]
    except KeyError:
        remedy = "store True or False"
        raise InputError(
            f"{where} attribute 'exclusive'", "yes or no", "another value", remedy
        ) from None


def _multi_hot(values: np.ndarray, where: str, names: tuple[str, ...]) -> Labels:
    names = names or tuple(f"label{i}" for i in range(values.shape[1]))
    if len(names) != values.shape[1]:
        raise InputError(
            f"{where} names", f"{values.shape[1]} names", f"{len(names)}", "name every label once"
        )
    wrong = np.flatnonzero(((values != 0) & (values != 1)).any(axis=1))
    if wrong.size:
        got = f"another number at slice {wrong[0]}"
        raise InputError(where, "0 or 1", got, "store multi-hot labels as 0 and 1")
    return Labels(values.astype(np.uint8), names, exclusive=False)


def _class_ids(values: np.ndarray, where: str, names: tuple[str, ...]) -> Labels:
    n_classes = len(names) or max(2, int(values.max(initial=0)) + 1)
    if n_classes > MAX_CLASSES:
        remedy = "store class numbers from 0, or names"
        raise InputError(where, f"at most {MAX_CLASSES} classes", f"{n_classes}", remedy)
    names = names or tuple(f"class{i}" for i in range(n_classes))
    wrong = np.flatnonzero((values < 0) | (values >= n_classes))
    if wrong.size:
        raise InputError(
            where,
            f"class ids 0 to {n_classes - 1}",
            f"another number at slice {wrong[0]}",
            "correct the labels, or name every class with names=A,B,..",
        )
    return Labels(np.eye(n_classes, dtype=np.uint8)[values], names, exclusive=True)


def _class_names(column: np.ndarray, where: str, names: tuple[str, ...]) -> Labels:
    if column.ndim != 1:
        raise InputError(where, "one name a slice", f"shape {column.shape}", "store one column")
    names = names or tuple(np.unique(column).tolist())
    if len(names) > MAX_CLASSES:
        got = f"{len(names)}"
        raise InputError(where, f"at most {MAX_CLASSES} classes", got, "store labels, not texts")
    wrong = np.flatnonzero(~np.isin(column, names))
    if len(wrong):
        got = f"another name at slice {wrong[0]}"
        raise InputError(where, f"one of {', '.join(names)}", got, "name every class")
    hot = column[:, None] == np.asarray(names)[None]
    return Labels(hot.astype(np.uint8), names, exclusive=True)
