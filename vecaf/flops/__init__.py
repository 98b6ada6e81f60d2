"""Multiply-accumulates (MACs): of models, counted; of selection and augmentation, by formula; of a whole cell.

One multiply-accumulate is two floating-point operations. Products are what is counted (linear layers, convolutions,
attention, similarities); norms, activations, softmax, sorting and optimiser steps are left out, as in the field.
"""

# A training step costs a forward pass and twice that for the gradients of inputs and of weights.
TRAINING_STEP = 3
