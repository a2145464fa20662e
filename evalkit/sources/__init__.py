"""Where images come from: each source gives uint8 RGB by index, in a fixed order, with a fingerprint."""
