"""A run of a study: its folder, checkpoints, events, lock, and who submitted it."""
