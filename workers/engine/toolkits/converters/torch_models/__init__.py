"""Models of PyTorch's world → ONNX, and what they say themselves on some samples.

Runs in the Python of a toolkit that lies over the engine's environment, where PyTorch is.
"""
