"""Predict videos: the `Predictor`, its streams, live inference, models in folders and registries.

May import the rooms up to `experiments`. Gives: `Predictor`.
"""
