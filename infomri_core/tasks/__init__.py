"""What a network is to find out, one file a task: its targets, losses, figures and answers."""
