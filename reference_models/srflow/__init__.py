"""SRFlow: super-resolution by a normalising flow that is conditioned on the small image; and plain Glow."""
