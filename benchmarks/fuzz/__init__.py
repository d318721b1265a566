"""Damaged and hostile inputs, seeded, for every reader: nothing but a refusal may come out."""
