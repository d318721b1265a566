"""What a vault remembers: what was charged and left, replies kept, the keys of sums to come."""
