"""Penalties that are added to the loss and use the pretrained model."""
