"""HTTP service that classifies images with multi-pool ONNX models."""
