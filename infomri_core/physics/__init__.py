"""k-space, its statistics and entropy, and the quality of images."""
