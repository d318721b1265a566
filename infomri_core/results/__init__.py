"""A study's results as values: the frontier, its table, names, colours and file."""
