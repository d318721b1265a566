"""What the kernel takes from each process of a site, and whether it holds."""
