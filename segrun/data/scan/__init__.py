"""One pass over all images and masks, and the rules that judge its records."""
