"""From a video to predictions: the predictor, its files, its pictures."""
