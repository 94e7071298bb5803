"""The detection half (never PyTorch): image -> pixels -> graph -> distance map -> score -> verdict."""
