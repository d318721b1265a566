"""What the gate asks of each kind of reply before it may leave: one module a job."""
