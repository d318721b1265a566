"""Starting, isolating and watching a site's processes."""
