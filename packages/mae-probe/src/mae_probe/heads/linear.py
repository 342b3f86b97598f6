"""What can be trained on a frozen encoder, by the name that MODEL.HEAD gives it.

A head's classifier is `head.1` behind the batch norm `head.0`, whatever comes before them.
"""

from collections.abc import Callable
from typing import NamedTuple

from paddle import nn

from mae_probe.extraction.feature_norm import FeatureNorm
from mae_probe.heads.attentive_pooling import AttentivePooling


class Head(NamedTuple):
    """How a head is built, and what it reads.

    Args:
        build: from the classifier (a linear layer), the encoder's width D and the number of queries.
        takes_tokens: it reads the patch tokens [N, L, D]; else the features [N, D].
    """

    build: Callable[[nn.Layer, int, int], nn.Layer]
    takes_tokens: bool = False


def linear_head(classifier: nn.Layer, dim: int, num_queries: int) -> nn.Layer:
    """Build batch norm and classifier (paper section 4.1, Table 10)."""
    return nn.Sequential(FeatureNorm(dim), classifier)


def attentive(classifier: nn.Layer, dim: int, num_queries: int) -> nn.Layer:
    """Build attentive pooling, batch norm and classifier (efficient probing, arXiv 2506.10178)."""
    pool = AttentivePooling(dim, num_queries)
    return nn.Sequential(("pool", pool), ("0", FeatureNorm(dim)), ("1", classifier))


HEADS = {"linear": Head(linear_head), "attentive": Head(attentive, takes_tokens=True)}
