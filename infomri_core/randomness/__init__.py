"""Where random numbers come from: named seeds, and a stream nobody can predict."""
