"""What is computed where the data are."""
