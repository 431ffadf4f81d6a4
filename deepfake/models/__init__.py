"""Windows to logits: backbones, heads, and the detector that joins one of each."""
