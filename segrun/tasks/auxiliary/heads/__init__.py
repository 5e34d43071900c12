"""Heads of auxiliary tasks."""
