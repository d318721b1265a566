"""Commands that keep a study centre running."""
