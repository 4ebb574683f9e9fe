"""How much chaos, and which: CHAOS_SCALE and CHAOS_SEED."""

from tests.scale import Scale

_CHOSEN = Scale.of("CHAOS")
SCALE, SEED, scaled = _CHOSEN.share, _CHOSEN.seed, _CHOSEN.scaled
