"""The hospital's commands: plans, ledger, keys, backups."""
