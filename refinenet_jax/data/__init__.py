"""Files -> batches: sources of examples, augmentation, and the Grain pipeline that feeds training."""
