"""One pass over all images and masks, and the rules that judge what it found."""
