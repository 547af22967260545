"""Tables, figures, movies and an HTML page from run folders alone: neither the model nor the dataset is needed."""
