"""Data sets: one file per kind of data, and the files that several of them share."""
