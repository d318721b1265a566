"""The hospital: a vault with the data and no network, a courier with the network and no data."""
