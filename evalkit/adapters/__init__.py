"""Models from outside: what a metric may ask of them, and readers of their files that run nothing."""
