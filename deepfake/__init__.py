"""Train, compare and run video deepfake detectors."""

__version__ = "0.1.0"
