"""A study from the first site to the last figure: enrol, train in rounds, evaluate, release."""
