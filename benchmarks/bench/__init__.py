"""``make bench``: what the platform costs beside the network it trains, as ratios within a run."""
