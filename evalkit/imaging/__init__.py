"""Pure image arithmetic: rounding to uint8, and the resizes that protocols name."""
