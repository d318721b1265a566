"""InfoMRI: learning which k-space points to measure, and what that gives away."""

__version__ = "0.1.0"
