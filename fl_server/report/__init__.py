"""What a reader gets: figures, comparisons, the published audit."""
