"""The synthetic world: Moving MNIST with telephone tones (design/M3SO.md)."""
