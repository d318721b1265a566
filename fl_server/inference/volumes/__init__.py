"""What was computed of a volume, as files that a viewer or an archive puts in its place."""
