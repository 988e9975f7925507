"""Linear models to compare with: on n-grams, and on the frozen pretrained embedding.

Knows texts and labels; knows nothing of sources, splits or bundles.

Shape letters: N = texts, H = hidden size, C = classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from routewright.encoding import EncodingConfig, TextEncoder
from routewright.train.backbones import load_backbone, load_tokenizer
from routewright.train.settings import bf16_supported

FloatArray = NDArray[np.float64]
MAX_TOKENS = 256
NUM_BUCKETS = 2**18
_BATCH_TOKENS = 4096


def hashed_ngrams(texts: Sequence[str]) -> object:
    """Counts of 2 to 5 characters within words as a sparse matrix ``(N, NUM_BUCKETS)``.

    On these tasks they do better than words and pairs of words (category: .785 against .748).
    Nothing is fitted, so rows of a source that is left out later have left no trace.
    """
    vectorizer = HashingVectorizer(
        n_features=NUM_BUCKETS,
        analyzer="char_wb",
        ngram_range=(2, 5),
        alternate_sign=False,
        norm=None,
    )
    return vectorizer.transform(texts)


def tfidf_classifier() -> Pipeline:
    """TF-IDF of `hashed_ngrams` under logistic regression, one class against the rest."""
    regression = LogisticRegression(C=10.0, solver="liblinear", dual=True, max_iter=1000)
    return make_pipeline(TfidfTransformer(sublinear_tf=True), OneVsRestClassifier(regression))


def linear_probe() -> LogisticRegression:
    """Logistic regression on embeddings of length 1."""
    return LogisticRegression(C=30.0, max_iter=1000)


def embed(texts: Sequence[str]) -> FloatArray:
    """Frozen MiniLM sentence embeddings ``(N, H)`` of length 1: the mean over the tokens.

    The first `MAX_TOKENS` tokens, as the weights were trained; in bfloat16 where the processor
    has it.

    Source: https://www.sbert.net/docs/sentence_transformer/pretrained_models.html.
    """
    model = load_backbone("minilm")
    model.train(False)
    tokenizer, pad_id = load_tokenizer("minilm")
    encoder = TextEncoder(
        tokenizer, EncodingConfig(max_tokens=MAX_TOKENS, overlap_tokens=0), pad_id=pad_id
    )
    encoded = encoder.encode_batch(list(texts))
    rows = [encoder.window_ids(e, e.windows[0]) for e in encoded]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    result_NH = np.zeros((len(rows), model.config.hidden_size))
    position = 0
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16_supported())
    with torch.inference_mode(), autocast:
        while position < len(order):
            longest = len(rows[order[position]])
            batch = order[position : position + max(1, _BATCH_TOKENS // longest)]
            position += len(batch)
            ids_BT, mask_BT = map(torch.from_numpy, encoder.pad([rows[i] for i in batch]))
            hidden_BTH = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            mask_BT1 = mask_BT[:, :, None].float()
            mean_BH = (hidden_BTH.float() * mask_BT1).sum(1) / mask_BT1.sum(1)
            result_NH[batch] = torch.nn.functional.normalize(mean_BH, dim=1).numpy()
    return result_NH


def label_ids(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp]:
    """Ids ``(N,)`` of label names in the order of `labels`."""
    ids = {label: i for i, label in enumerate(labels)}
    return np.array([ids[name] for name in names], dtype=np.intp)


def widened(
    probabilities_NK: FloatArray, class_ids_K: NDArray[np.intp], num_classes: int
) -> FloatArray:
    """Probabilities ``(N, C)`` of a model that has seen only K of C classes; 0 for the rest."""
    result_NC = np.zeros((len(probabilities_NK), num_classes))
    result_NC[:, class_ids_K] = probabilities_NK
    return result_NC
