"""Secure aggregation in a study: sessions of keys, and rounds of which only the sum is seen."""
