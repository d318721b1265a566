"""A run's folder: checkpoints and events."""
