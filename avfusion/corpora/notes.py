"""What readers of a model's values must know about the corpus that it was trained on."""

DRAWN = "the model has seen only drawn faces and synthetic voices: its values say nothing about real people"
_NOTES = {"demo": (DRAWN,)}  # by name, since a model is trained where the corpus itself may be missing


def corpus_notes(name: str) -> tuple[str, ...]:
    """Notes that every model trained on the corpus of this name carries; none for real data."""
    return _NOTES.get(name, ())


def as_sentence(note: str) -> str:
    """A note as a sentence of its own, for pages."""
    return f"{note[:1].upper()}{note[1:]}."
