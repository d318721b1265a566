"""The dashboard: reads MLflow and the files of runs, writes nothing."""
