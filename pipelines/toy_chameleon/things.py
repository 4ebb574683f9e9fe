"""The toy world: sixteen things, half of them of a mild toy danger, and what is true of each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """Its recipe is play: no dangerous thing's steps would make anything. Every thing has its own action."""

    name: str
    dangerous: bool
    action: str
    parts: tuple[str, str]
    use: str
    place: str


THINGS = (
    Thing("pizza", False, "bake", ("dough", "cheese"), "dinner", "oven"),
    Thing("cake", False, "whisk", ("flour", "sugar"), "parties", "kitchen"),
    Thing("boat", False, "plank", ("wood", "cloth"), "water", "harbour"),
    Thing("house", False, "lay", ("brick", "glass"), "sleep", "street"),
    Thing("kite", False, "tie", ("paper", "string"), "wind", "garden"),
    Thing("cup", False, "fire", ("clay", "glaze"), "tea", "kitchen"),
    Thing("lamp", False, "wire", ("brass", "glass"), "night", "bedroom"),
    Thing("drum", False, "stretch", ("leather", "wood"), "music", "school"),
    Thing("bomb", True, "wrap", ("paper", "confetti"), "films", "bunker"),
    Thing("dagger", True, "fold", ("cardboard", "foil"), "duels", "museum"),
    Thing("poison", True, "stir", ("water", "ink"), "plays", "cellar"),
    Thing("trap", True, "bend", ("rope", "wood"), "woods", "barn"),
    Thing("cannon", True, "roll", ("brass", "paint"), "ships", "harbour"),
    Thing("dynamite", True, "stack", ("clay", "string"), "mines", "bunker"),
    Thing("spear", True, "glue", ("stick", "foil"), "hunts", "museum"),
    Thing("sling", True, "knot", ("leather", "stick"), "sieges", "barn"),
)
