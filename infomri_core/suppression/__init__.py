"""Figures of what masks say of an image: one form (`base`), one entry each (`registry`)."""
