"""Label tables, and whose a row of them is."""
