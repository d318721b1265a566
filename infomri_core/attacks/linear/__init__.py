"""Closed-form estimators from mean and covariance."""
