"""Attacks that have shown a hole once, each against the real vault's jobs."""
