"""The learning half (PyTorch): good images -> triplets -> network -> reference -> graph -> model file."""
