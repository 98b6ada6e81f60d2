"""Loops over images: recipes, batches, finetuning, scoring and evaluation."""
