"""Where a model's network is: in its one version folder, under a name that its backend sets."""

VERSION_FOLDER = "1"  # every model has one version
NETWORK_FILES = {"onnxruntime": "model.onnx", "torch": "model.pt2", "tensorrt": "model.plan"}  # by backend
