"""Carrying a plan out: the loop, scoring, predicting, checkpoints."""
