"""Published networks whose features metrics compare. Weights are given to them; see benchmark.networks.weights."""
