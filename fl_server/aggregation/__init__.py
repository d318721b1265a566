"""What becomes of the sites' weights: means, strategies, robust aggregates."""
