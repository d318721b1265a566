"""Scores that leave a site as one bounded vector under noise."""
