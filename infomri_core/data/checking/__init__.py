"""What is in a slice archive, what is wrong with it, and who is trained on."""
