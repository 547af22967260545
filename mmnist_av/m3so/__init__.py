"""M3SO, the synthetic dataset: Moving MNIST with telephone tones."""
