"""Knee-like phantoms with findings whose best mask is known."""
