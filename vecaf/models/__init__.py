"""Everything that is loaded and not learnt here: backbones, captioners, text encoders."""
