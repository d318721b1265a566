"""Networks: the classifier, and those of the attackers."""
