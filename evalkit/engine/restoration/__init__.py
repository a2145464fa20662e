"""Restorations held against their originals: what is asked, how samples are made and kept, rows, records."""
