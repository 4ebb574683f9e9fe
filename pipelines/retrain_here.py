"""A retraining in this process, as the settings say."""

from collections.abc import Sequence

from autosteer_core.gate_limits import GateLimits
from autosteer_core.probe_fitting import ProbeOptions
from autosteer_core.retraining import RetrainOptions
from infra.open_store import open_store
from pipelines.learning import Say, alarm_of, learning_of
from pipelines.registry_files import registry_of, who_here
from pipelines.retrain import Retrained, RetrainRequest, retrain_registry
from pipelines.settings import Settings
from pipelines.signing import trust_of

_NEVER = 2**62  # labels that are never reached: only an alarm counts


def retrain_here(
    settings: Settings, runs: Sequence[str], when_labels: int | None, when_drift: bool, say: Say
) -> Retrained:
    """Waits for `when_labels` new labels, for a drift alarm, or for either; by default for as many as a gate wants.

    Raises:
        UserMistake: no registry, nothing in it serves, another retraining runs, or the labels will not do.
    """
    registry = registry_of(settings)
    store = open_store(str(settings.registry))
    limits = GateLimits(seed=settings.seed)
    enough = _NEVER if when_drift else limits.new_labels
    request = RetrainRequest(
        RetrainOptions(settings.seed, probe=ProbeOptions(label_noise=settings.label_noise)),
        least=enough if when_labels is None else when_labels,
        alarm=alarm_of(store, runs) if when_drift else None,
        sign_off=settings.require_sign_off,
        who=who_here(),
        trust=trust_of(settings),
    )
    return retrain_registry(store, registry, learning_of(store, runs, limits, say), request, say)
