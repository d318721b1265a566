"""Compressed sensing: one penalty, no network."""
