"""Suppression: what a mask tells of an image, as a penalty on the sampling policy."""

from infomri_core.suppression.base import Suppression
from infomri_core.suppression.registry import SUPPRESSIONS, build_suppression, needs_factors

__all__ = ["SUPPRESSIONS", "Suppression", "build_suppression", "needs_factors"]
