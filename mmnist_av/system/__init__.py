"""Nothing of the field: errors, files, progress, and where work runs."""
