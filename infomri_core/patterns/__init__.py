"""Sampling masks with an exact count of points that no network trains: the field's and the best
in closed form."""
