"""What datasets and models share without being about either: errors, settings, files, progress, engines."""
