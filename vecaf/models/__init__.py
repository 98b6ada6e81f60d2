"""Models: backbones with their heads and pretraining, captioners, text encoders."""
