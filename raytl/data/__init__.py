"""Pictures: checked, split, decoded once, augmented in batches."""
