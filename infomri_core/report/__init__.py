"""The privacy report: one HTML file that a hospital can file."""
