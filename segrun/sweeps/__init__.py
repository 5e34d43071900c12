"""Several trainings in one command."""
