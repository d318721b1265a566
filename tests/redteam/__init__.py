"""Attacks that once worked, played by a hostile party against the real jobs."""
