"""Talking heads that the project draws itself: real clips, face swaps and reenactments of them."""
