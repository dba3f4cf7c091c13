"""The few words that captions are made of."""

__all__ = ["NUMBER", "a", "compare"]

_WORDS = """no one two three four five six seven eight nine ten eleven twelve
thirteen fourteen fifteen sixteen"""
NUMBER = dict(enumerate(_WORDS.split()))


def a(*words: str) -> str:
    """The words, empty ones left out, behind the right article.

    Example:
        >>> a("", "open", "door"), a("tall", "lamp")
        ('an open door', 'a tall lamp')
    """
    text = " ".join(word for word in words if word)
    return ("an " if text[0] in "aeiou" else "a ") + text


def compare(
    value: float, low: float, high: float, small: str, middle: str, large: str
) -> str:
    """The word for a value below low, between, or above high.

    Example:
        >>> compare(0.3, 0.5, 0.7, "low", "", "high")
        'low'
    """
    return small if value < low else large if value > high else middle
