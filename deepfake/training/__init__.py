"""Detectors in Lightning: the module that trains one and the checkpoint that carries it."""
