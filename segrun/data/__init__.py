"""Images and masks: reading, data sets, splits, sizes, augmentation, loading."""
