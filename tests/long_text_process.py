"""Run as a process: what a text of a million characters takes beyond one of a tenth of it.

The model is a table of random numbers, as memory does not depend on it; tokenizer, heads and
batcher are those that serve.
"""

import asyncio
import random
import resource
import sys

import numpy as np
from numpy.typing import NDArray

from routewright.decoding import FloatArray
from routewright.runtime.backend import EMBEDDING, logits_name
from routewright.runtime.batcher import Batcher
from routewright.runtime.classifier import Classifier

NUM_CHARACTERS = 1_000_000


class TableBackend:
    """Looks the scores of each token up; a text has those of its first token."""

    def __init__(self, classifier: Classifier) -> None:
        random_numbers = np.random.default_rng(1)
        num_tokens = classifier.encoder.tokenizer.get_vocab_size()
        self.tables: dict[str, NDArray[np.float32]] = {}
        self.token_outputs = set()
        for name, head in classifier.heads.items():
            task = head.task
            num = len(task.labels if head.decoder is None else task.scheme.tags)
            table = random_numbers.normal(size=(num_tokens, num)).astype(np.float32)
            self.tables[logits_name(name)] = table
            if head.decoder is not None:
                self.token_outputs.add(logits_name(name))

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        """Outputs as of the graph."""
        outputs: dict[str, FloatArray] = {
            name: table[input_ids_BT if name in self.token_outputs else input_ids_BT[:, 1]]
            for name, table in self.tables.items()
        }
        outputs[EMBEDDING] = np.ones((len(attention_mask_BT), 384), dtype=np.float32)
        return outputs


async def classify(classifier: Classifier, text: str) -> int:
    """Tokens of `text`, answered as a gateway answers."""
    batcher = Batcher(classifier)
    given = await batcher.run(text)
    await batcher.close()
    return given.num_tokens


def peak_bytes() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print bytes a character, and tokens."""
    whole = Classifier.open(verify=False)
    classifier = Classifier(whole.encoder, whole.heads, TableBackend(whole))
    choice = random.Random(2)  # noqa: S311 - no two windows are alike
    words = [str(choice.randrange(10**7)) for _ in range(NUM_CHARACTERS // 6)]
    text = " ".join(words)[:NUM_CHARACTERS]
    asyncio.run(classify(classifier, text[: NUM_CHARACTERS // 10]))
    before = peak_bytes()
    num_tokens = asyncio.run(classify(classifier, text))
    sys.stdout.write(f"{(peak_bytes() - before) / NUM_CHARACTERS} {num_tokens}")


if __name__ == "__main__":
    main()
