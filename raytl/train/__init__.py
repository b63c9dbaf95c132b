"""The fine-tuning loop and its parts; knows nothing of Ray."""
