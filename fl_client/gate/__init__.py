"""What may leave this site: the gate, the budget, the cohorts, and the checks of each reply."""
