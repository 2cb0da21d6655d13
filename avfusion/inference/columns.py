"""Columns of predictions, one row per video frame."""

COLUMNS = ("frame", "time_s", "valence", "arousal", "face_confidence", "audio_present", "visual_present")
SPREADS = ("valence_sd", "arousal_sd")
VALUES = ("valence", "arousal", *SPREADS)  # NaN where nothing is known
