"""Which parts the objects of some classes are made of.

The recipes of these classes say of each piece what part it is (`Shape.part`). Not every
object has all parts of its class: a chair may have no arms.
"""

__all__ = ["PART_NAMES"]

PART_NAMES: dict[str, tuple[str, ...]] = {
    "airplane": ("body", "wing", "tail", "engine"),
    "bed": ("frame", "bedding", "board"),
    "bicycle": ("wheel", "frame", "handlebar", "saddle"),
    "car": ("body", "cabin", "wheel"),
    "chair": ("leg", "seat", "back", "arm"),
    "cup": ("body", "handle", "base"),
    "guitar": ("body", "neck", "head"),
    "hammer": ("handle", "head"),
    "lamp": ("base", "post", "shade"),
    "rocket": ("body", "fin", "booster"),
    "table": ("top", "leg", "shelf"),
    "umbrella": ("canopy", "stick"),
}
