"""Stored crops to batches of windows."""
