"""Heads: from a backbone's feature maps to one task's output. One file each."""
