"""Attacks on the promises of docs/threat-model.md: each must fail."""
