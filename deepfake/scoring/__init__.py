"""Logits to track and video probs, and what they are worth; pure, without model or dataset."""
