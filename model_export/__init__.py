"""Train multi-pool image classifiers in Keras and publish them as verified ONNX artifacts."""
