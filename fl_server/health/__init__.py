"""Checks of a machine and its settings: what is found, and what to fix."""
