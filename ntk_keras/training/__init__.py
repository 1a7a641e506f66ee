"""A network trained on loss terms: the model, its terms, its step, and loops other than `fit`."""
