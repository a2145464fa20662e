"""How each family of metrics goes from stored features, or models, to numbers with error bars."""
