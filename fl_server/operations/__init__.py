"""What a federation stands on: SuperLink, Control API, kits in one folder, node registration."""
