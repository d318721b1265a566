"""Registries, and what installed packages of others may add to them."""
