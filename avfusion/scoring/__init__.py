"""CCC and related scores: pooling, smoothing, intervals, differences between models and seeds.

May import `runtime`. Works on numpy arrays alone: no networks. Gives: `ccc`, `pooled_scores`, `TrackPredictions`.
"""
