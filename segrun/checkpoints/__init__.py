"""Checkpoints and snapshots of weights."""
