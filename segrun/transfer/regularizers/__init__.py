"""Additions to the loss that use the pretrained weights."""
