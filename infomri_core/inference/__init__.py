"""A trained arm at work on scans."""
