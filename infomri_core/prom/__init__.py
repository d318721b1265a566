"""ProM: the one mask of a data set that is optimal under an exact budget, found by gradients over
a product of Bernoulli variables."""
