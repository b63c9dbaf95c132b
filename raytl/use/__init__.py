"""What a finished model is for: predictions and explanations."""
