"""Restored images against their originals: fidelity, structure, consistency with the input, diversity."""
