"""Hundreds of sites on one machine, through Flower's simulation engine."""
