"""Named, versioned, frozen protocols."""
