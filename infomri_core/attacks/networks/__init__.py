"""Attacks that are networks, trained on the audit set."""
