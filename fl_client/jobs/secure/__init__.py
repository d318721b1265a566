"""The jobs of secure aggregation."""
