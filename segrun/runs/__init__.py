"""Run folders: what a training writes."""
