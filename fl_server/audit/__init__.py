"""Fitting attackers on the study centre's own patients."""
