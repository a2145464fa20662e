"""Numbers with error bars. NumPy only."""
