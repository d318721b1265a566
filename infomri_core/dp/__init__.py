"""Differential privacy of training: DP-SGD, its accounting, and noised moments."""
