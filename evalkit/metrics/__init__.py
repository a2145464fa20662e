"""Pure functions of arrays: they know no model, data set, file or device."""
