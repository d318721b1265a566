"""A study on a terminal: progress, exit codes, the way to the dashboard."""
