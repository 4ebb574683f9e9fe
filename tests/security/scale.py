"""How much hostile input, and which: SECURITY_SCALE and SECURITY_SEED."""

from tests.scale import Scale

_CHOSEN = Scale.of("SECURITY")
SEED, scaled = _CHOSEN.seed, _CHOSEN.scaled
