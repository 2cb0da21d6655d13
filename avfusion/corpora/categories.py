"""Points of the valence-arousal plane for the emotion categories of acted corpora.

Actors were told a category and a strength; nobody annotated valence and arousal over time. A clip gets one point for
its whole length: the mean rating of the category's word, times the share of its strength. Labels made so, and scores
against them, are *category-derived*.

Source: J. A. Russell and A. Mehrabian, "Evidence for a three-factor theory of emotions", Journal of Research in
Personality 11 (1977), 273-294, doi:10.1016/0092-6566(77)90037-X: mean pleasure and arousal, from -1 to 1, of people who
imagined to feel as a word says. The values are copied from later reprints of that table, not from the paper itself.
`calm` takes the values of the table's `relaxed`. `neutral` is the centre, by convention.
"""

# category: (valence, arousal)
POINTS: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "calm": (0.68, -0.46),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fearful": (-0.64, 0.60),
    "disgusted": (-0.60, 0.35),
    "surprised": (0.40, 0.67),
}

# Strength asked of the actor: share of the way from neutral to the category's point. A convention, without a source.
SHARES: dict[str, float] = {"low": 0.5, "medium": 0.75, "unspecified": 0.75, "high": 1.0}


def category_point(category: str, strength: str) -> tuple[float, float]:
    """Valence and arousal, in [-1, 1], of a category acted at a strength."""
    valence, arousal = POINTS[category]
    share = SHARES[strength]
    return share * valence, share * arousal
