"""Tasks that are learnt beside the mask."""
