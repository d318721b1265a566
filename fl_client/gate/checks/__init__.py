"""What the gate asks of scores before they may leave; the other replies are checked by their job
(:mod:`fl_client.jobs`)."""
