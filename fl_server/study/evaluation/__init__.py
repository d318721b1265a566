"""After the last round: attackers, scoring at the sites, results."""
