"""Networks that turn a clip of one stream into a feature vector, their weights, transforms and extraction."""
