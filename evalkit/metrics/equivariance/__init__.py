"""Equivariance: do pictures move as their input moves."""
