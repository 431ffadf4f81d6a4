"""Hostile files by the thousand, and the commands that must get through them."""
