"""What people drew on slices: stored outlines of one or more raters, and simulated raters."""
