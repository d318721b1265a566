"""From sampled k-space to an image: what needs no training, and what every network must beat."""
