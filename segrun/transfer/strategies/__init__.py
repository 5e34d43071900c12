"""Strategies: what is trained, when and at which learning rate."""
