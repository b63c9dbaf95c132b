"""raytl: finds the best way to fine-tune an image classifier on a folder of labelled pictures."""

__version__ = "0.1.0"
