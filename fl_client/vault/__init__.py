"""The process that holds the data: it opens them once, does jobs at its socket, and counts."""
