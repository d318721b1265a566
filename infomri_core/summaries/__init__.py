"""Mergeable summaries that may leave a site, with their uncertainty."""
