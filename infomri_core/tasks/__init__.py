"""What is learned from sampled k-space: a sampling policy and a network, trained together."""
