"""How much of retraining and swapping, and which: LOOP_SCALE and LOOP_SEED."""

from tests.scale import Scale

_CHOSEN = Scale.of("LOOP")
SEED, scaled = _CHOSEN.seed, _CHOSEN.scaled
