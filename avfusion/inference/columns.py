"""Columns of predictions, one row per video frame."""

COLUMNS = ("frame", "time_s", "valence", "arousal", "face_confidence", "audio_present", "visual_present")
SPREADS = ("valence_sd", "arousal_sd")
BANDS = ("valence_low", "valence_high", "arousal_low", "arousal_high")
VALUES = ("valence", "arousal", *SPREADS, *BANDS)  # NaN where nothing is known
