"""The model's answers as the policy reads them."""

from routewright.policy.signals import SequenceSignal
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier


def sequence_signals(classifier: Classifier, answer: Answer) -> dict[str, SequenceSignal]:
    """The answers of the sequence heads, by task."""
    return {
        name: SequenceSignal(
            label=found.label,
            confidence=found.confidence,
            probabilities=found.probabilities,
            abstained=found.abstained,
            threshold=classifier.heads[name].calibration.threshold,
            positive=classifier.heads[name].task.positive,
        )
        for name, found in answer.sequence.items()
    }
