"""The side with the network and without data: courier, executor, SuperNode."""
