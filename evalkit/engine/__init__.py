"""Plans, runs and files evaluations."""
