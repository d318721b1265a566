"""What segmentation is scored by: its figures, and what they are made of, exact and noised."""
