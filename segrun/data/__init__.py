"""Images and masks: data sets, reading, scanning, splitting, sizing, augmentation, loading."""
