"""What a trained arm makes of scans, a file a command."""
