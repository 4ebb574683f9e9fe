"""The command that does on a cluster what `autosteer retrain` does here."""

import json
from collections.abc import Sequence

from pipelines.registry_files import registry_of
from pipelines.settings import Settings

# A settings file lies on this machine: what of it concerns a retraining travels as flags. None of these is secret.
_TRAVEL = ("seed", "label_noise", "require_sign_off", "trusted_keys", "allow_unsigned", "least_epoch")


def retrain_there(
    settings: Settings, runs: Sequence[str], when_labels: int | None, when_drift: bool, as_json: bool
) -> list[str]:
    """Words of the command; addresses must mean the same there.

    Raises:
        UserMistake: no registry is set.
    """
    registry_of(settings)
    words = ["autosteer", "retrain", "--registry", str(settings.registry)]
    for out in runs:
        words += ["--run", out]
    words += [] if when_labels is None else ["--when-labels", str(when_labels)]
    words += ["--when-drift"] * when_drift + ["--json"] * as_json
    for name in _TRAVEL:
        if name in settings.model_fields_set:
            value = getattr(settings, name)
            words += ["--set", f"{name}={value if isinstance(value, int | float) else json.dumps(value)}"]
    return words
