"""Whole jobs; each module's main(config, run folder) is what the script of its name runs."""
