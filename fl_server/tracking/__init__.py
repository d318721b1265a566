"""MLflow: runs, records, the model registry, and what waits to be sent."""
