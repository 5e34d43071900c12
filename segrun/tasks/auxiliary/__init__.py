"""Tasks that are trained beside the mask."""
