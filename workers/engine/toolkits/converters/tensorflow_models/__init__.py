"""Keras, TensorFlow and TFLite models → ONNX, and what they say themselves on some samples.

Runs in the Python of the toolkit `tensorflow`, where nothing else of the engine can be imported.
"""
