"""How far two sets of features are apart, and how they cover each other."""
