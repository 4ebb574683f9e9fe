"""The control that sees words only: what an n-gram probe can do without pictures and without the model."""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

from autosteer_core.evaluation import Rate
from autosteer_core.values import Item, Label


def text_probe(
    texts: Sequence[str], harmful: "Sequence[bool] | np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> Pipeline:
    """A 1-2-gram logistic regression; `predict_proba(texts)[:, 1]` is its risk."""
    probe = make_pipeline(CountVectorizer(ngram_range=(1, 2), binary=True), LogisticRegression(max_iter=1000))
    return probe.fit(texts, harmful)


def text_only_accuracy(fitted_on: Sequence[Item], tried_on: Sequence[Item]) -> dict[str, tuple[Rate, float]]:
    """Accuracy and AUROC per group of a 1-2-gram logistic regression; near 50 % where only the picture tells.

    Unlabelled items are left out, and so are groups of `tried_on` that hold one label only.
    """
    known, asked = _labelled(fitted_on), _labelled(tried_on)
    probe = text_probe([item.text for item in known], _harmful(known))
    result = {}
    for group in sorted({item.annotation.group_name for item in asked}):
        rows = [item for item in asked if item.annotation.group_name == group]
        harmful, texts = _harmful(rows), [item.text for item in rows]
        if len(set(harmful)) == 2:
            right = int((probe.predict(texts) == harmful).sum())
            result[group] = (
                Rate(right, len(rows)),
                float(roc_auc_score(harmful, probe.decision_function(texts))),
            )
    return result


def _labelled(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.annotation.label is not None]


def _harmful(items: Sequence[Item]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return np.array([item.annotation.label is Label.HARMFUL for item in items])
