"""How fast and how small: one file a target, measured beside an honest yardstick in the same run."""
