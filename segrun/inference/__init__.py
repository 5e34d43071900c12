"""From images to masks and scores."""
