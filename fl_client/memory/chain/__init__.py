"""How the ledger's lines hang together, and what is done where they no longer do."""
