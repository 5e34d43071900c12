"""What can be learnt, and how far off it is."""
