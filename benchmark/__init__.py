"""benchmark: one harness that trains and scores every model under every protocol."""
