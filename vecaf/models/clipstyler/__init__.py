"""CLIPstyler: training images that look as a text says."""
