"""The one loop of optimizer steps, for networks of sites and of attackers."""
