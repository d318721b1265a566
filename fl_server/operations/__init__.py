"""SuperLink, certificates, kits, node keys: what a federation stands on."""
