"""The study's own authority: certificates, operators, kits, and who is who among the sites."""
