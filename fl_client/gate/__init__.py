"""What may leave this site: the gate, the ledger, the budget, and the memory of what left."""
