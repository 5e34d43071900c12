"""Experiment trackers: they show a run in another program than segrun."""
