"""Attacks on weights and updates: inversion, membership, leakage."""
