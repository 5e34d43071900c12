"""Backbones, heads, and the parts that a model is made of."""
