"""A site's startup kit: its files, signatures, and requests for one."""
