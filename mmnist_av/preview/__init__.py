"""Movies with sound, strips and contact sheets of clips."""
