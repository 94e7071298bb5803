"""The learning half (PyTorch): good images -> triplets -> network -> reference -> graph -> model file."""

import os

# Read once, when PyTorch is loaded. Its threads would else wait for each other by spinning, on the cores that the
# thread needs which draws the defects of the next steps: a step took up to a quarter longer (docs/performance.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
