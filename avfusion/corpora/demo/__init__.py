"""The rendered demo corpus: faces and voices that show known valence and arousal."""
