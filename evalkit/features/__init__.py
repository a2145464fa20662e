"""From images to stored features: networks, their weights, and the store their rows are kept in."""
