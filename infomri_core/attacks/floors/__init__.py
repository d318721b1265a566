"""Answers that use no measurement: what an attack must beat."""
