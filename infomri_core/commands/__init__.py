"""Commands that hospital and study centre share; both command lines mount them."""
