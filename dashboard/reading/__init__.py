"""What pages read: MLflow, run files, trained arms."""
