"""Attacks on sampled k-space: one file each, one form (`base`), one entry (`registry`)."""
