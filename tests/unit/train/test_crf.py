"""The CRF against enumeration of all tag sequences."""

from itertools import pairwise, product

import numpy as np
import torch

from routewright.decoding import SpanDecoder
from routewright.labels import BioScheme
from routewright.tag_search import Transitions
from routewright.train.crf import IMPOSSIBLE, LinearChainCrf

SCHEME = BioScheme(["A", "B"])
NUM_TAGS = len(SCHEME.tags)


def random_crf(seed: int) -> LinearChainCrf:
    torch.manual_seed(seed)
    crf = LinearChainCrf(SCHEME)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


@torch.no_grad()
def brute_force_scores(
    crf: LinearChainCrf, logits_TK: torch.Tensor
) -> dict[tuple[int, ...], float]:
    scores = {}
    for tags in product(range(NUM_TAGS), repeat=len(logits_TK)):
        legal = SCHEME.may_start(tags[0]) and all(
            SCHEME.may_follow(a, b) for a, b in pairwise(tags)
        )
        score = crf.start_K[tags[0]] if SCHEME.may_start(tags[0]) else torch.tensor(IMPOSSIBLE)
        for t, tag in enumerate(tags):
            score = score + logits_TK[t, tag]
            if t:
                allowed = SCHEME.may_follow(tags[t - 1], tag)
                score = score + (crf.scores_KK[tags[t - 1], tag] if allowed else IMPOSSIBLE)
        scores[tags] = float(score + crf.end_K[tags[-1]]) if legal else -1e9
    return scores


def test_the_likelihood_is_that_of_enumerating_all_sequences() -> None:
    crf = random_crf(0)
    logits_BTK = torch.randn(2, 4, NUM_TAGS)
    lengths, golds = [4, 2], [(1, 2, 0, 3), (0, 1)]
    tags_BT = torch.tensor([[1, 2, 0, 3], [0, 1, 0, 0]])
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False]])
    expected = 0.0
    for row, (length, gold) in enumerate(zip(lengths, golds, strict=True)):
        scores = brute_force_scores(crf, logits_BTK[row, :length])
        expected += (
            float(torch.logsumexp(torch.tensor(list(scores.values())), 0)) - scores[gold]
        )
    loss = crf(logits_BTK, tags_BT, mask_BT)
    assert abs(float(loss.detach()) - expected / 6) < 1e-4


def test_padding_does_not_change_the_loss() -> None:
    crf = random_crf(1)
    logits_BTK = torch.randn(1, 3, NUM_TAGS)
    tags_BT = torch.tensor([[0, 1, 2]])
    short = crf(logits_BTK, tags_BT, torch.ones(1, 3, dtype=torch.bool))
    padded_logits = torch.cat([logits_BTK, torch.randn(1, 2, NUM_TAGS) * 50], dim=1)
    padded_tags = torch.tensor([[0, 1, 2, 4, 4]])
    mask_BT = torch.tensor([[True, True, True, False, False]])
    assert torch.allclose(short, crf(padded_logits, padded_tags, mask_BT), atol=1e-5)


def test_training_learns_the_transitions_it_sees() -> None:
    crf = LinearChainCrf(SCHEME)
    tags_BT = torch.tensor([[1, 2, 0], [3, 4, 0]])
    mask_BT = torch.ones(2, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.1)
    before = float(crf(torch.zeros(2, 3, NUM_TAGS), tags_BT, mask_BT).detach())
    for _ in range(30):
        optimizer.zero_grad()
        loss = crf(torch.zeros(2, 3, NUM_TAGS), tags_BT, mask_BT)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < before / 3
    assert crf.scores_KK[1, 2] > crf.scores_KK[1, 3]


def test_the_numpy_decoder_finds_the_sequence_the_crf_prefers() -> None:
    crf = random_crf(2)
    text = "aa bb cc dd"
    offsets = [(0, 2), (3, 5), (6, 8), (9, 11)]
    transitions = Transitions(
        *(p.detach().double().numpy() for p in (crf.start_K, crf.scores_KK, crf.end_K))
    )
    decoder = SpanDecoder(SCHEME, transitions)
    for seed in range(20):
        logits_TK = torch.log_softmax(
            torch.randn(4, NUM_TAGS, generator=torch.Generator().manual_seed(seed)), dim=1
        )
        best = max(brute_force_scores(crf, logits_TK).items(), key=lambda item: item[1])[0]
        expected = [
            (offsets[i][0], SCHEME.entity_type(tag))
            for i, tag in enumerate(best)
            if SCHEME.is_begin(tag)
        ]
        spans = decoder.decode(text, offsets, np.asarray(logits_TK))
        assert [(span.start, span.label) for span in spans] == expected
