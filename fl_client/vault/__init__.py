"""The process that holds the data: its socket, its jobs, its part in secure aggregation."""
