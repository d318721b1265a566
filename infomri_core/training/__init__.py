"""The one training loop, and what it keeps between rounds."""
