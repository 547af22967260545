"""The synthetic world: Moving MNIST with telephone tones."""
