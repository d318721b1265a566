"""Where random numbers come from: named seeds, and a stream no one can predict."""
