"""Colours and strokes, told apart without seeing colour, the same in every figure."""

# Okabe and Ito's palette: told apart with any of the usual colour deficiencies.
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE, GREY = "#E69F00", "#D55E00", "#CC79A7", "#666666"

CLEAN_ATTACKED = {"clean": BLUE, "attacked": VERMILLION}
TEACHER_COLOURS = {"image": ORANGE, "point": BLUE, "text": GREEN}
# Threat model -> (colour, what it means). The names are those of the whole project.
THREAT_MODELS = {
    "clean": (SKY, "clean: no attack"),
    "static": (ORANGE, "static: made once on the undefended student"),
    "adaptive": (VERMILLION, "adaptive: made through the defense itself"),
    "transfer": (PURPLE, "transfer: made on a surrogate"),
}


def curve_colour(name: str) -> str:
    """Teachers, clean and attacked keep their colours in every figure."""
    known = {**TEACHER_COLOURS, **CLEAN_ATTACKED}
    return next((known[key] for key in known if key in name), "#222222")


def curve_dash(name: str) -> str:
    """Lines differ in stroke as well as colour, for print without colour."""
    strokes = {"point": "dash", "text": "dot", "attacked": "dash"}
    return next((strokes[key] for key in strokes if key in name), "solid")


def nth_colour(index: int) -> str:
    """A colour for the index-th curve that has no colour of its own."""
    wheel = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, "#222222")
    return wheel[index % len(wheel)]


def nth_dash(index: int) -> str:
    """A stroke for the index-th curve, for print without colour."""
    return ("solid", "dash", "dot")[index % 3]


def nth_marker(index: int) -> str:
    """A marker for the index-th curve, in Plotly's words."""
    return ("circle", "square", "diamond", "triangle-up")[index % 4]


def faint(colour: str, alpha: float = 0.15) -> str:
    """A colour "#rrggbb", let through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"
