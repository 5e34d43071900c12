"""Runs beside each other: which is better, by how much, and whether the difference is real."""
