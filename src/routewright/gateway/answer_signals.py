"""The model's answers as the policy reads them."""

from routewright.policy.signals import SequenceSignal
from routewright.runtime.answers import Answer
from routewright.runtime.classifier import Classifier


def sequence_signals(classifier: Classifier, answer: Answer) -> dict[str, SequenceSignal]:
    """The answers of the sequence heads, by task."""
    return {name: sequence_signal(classifier, answer, name) for name in answer.sequence}


def sequence_signal(classifier: Classifier, answer: Answer, task: str) -> SequenceSignal:
    """The answer of the sequence head of `task`."""
    found, head = answer.sequence[task], classifier.heads[task]
    return SequenceSignal(
        label=found.label,
        confidence=found.confidence,
        probabilities=found.probabilities,
        abstained=found.abstained,
        threshold=head.calibration.threshold,
        positive=head.task.positive,
    )
