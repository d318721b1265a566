"""The study centre: studies, the audit, MLflow, and the command line."""
