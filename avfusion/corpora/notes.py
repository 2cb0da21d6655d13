"""What readers of a model's values must know about the corpus that it was trained on."""

DRAWN = "the model has seen only drawn faces and synthetic voices: its values say nothing about real people"
CATEGORY = (
    "the model has learned category-derived values: each clip of acted emotion has one point of the plane for its "
    "whole length, so its curves show how like acted categories a moment looks, not annotated valence and arousal"
)
CATEGORY_DERIVED = "category-derived"
_CATEGORY_CORPORA = ("ravdess", "cremad")
_NOTES = {
    "demo": (DRAWN,),
    **dict.fromkeys(_CATEGORY_CORPORA, (CATEGORY,)),
}  # by name, since a model is trained where the corpus itself may be missing


def corpus_notes(name: str) -> tuple[str, ...]:
    """Notes that every model trained on the corpus of this name carries; none for annotated data."""
    return _NOTES.get(name, ())


def label_origin(name: str) -> str:
    """How the labels of the corpus of this name came about; "" where people annotated them, or the demo's truth."""
    return CATEGORY_DERIVED if name in _CATEGORY_CORPORA else ""


def as_sentence(note: str) -> str:
    """A note as a sentence of its own, for pages."""
    return f"{note[:1].upper()}{note[1:]}."
