"""Published networks whose features metrics compare, and their published weights."""
