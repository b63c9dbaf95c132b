"""Backbones as ordered, freezable stages, and the heads put on them."""
