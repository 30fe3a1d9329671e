"""The lesion graph's network takes torchvision's weights, and sequences teach it similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning import learn_by_heart
from torch import Tensor
from torchvision.models import vgg16

from golden import fill, seeded
from tumorbase.models.checkpoints import load_into
from tumorbase.models.lesion_graph import LesionGraph
from tumorbase.models.networks import build
from tumorbase.models.published import PUBLISHED
from tumorbase.models.triplet_sequences import (
    LesionAttributes,
    SequenceRule,
    sample_sequences,
    sequence_loss,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def filled() -> LesionGraph:
    """With the deterministic fill."""
    return fill(build("lesion_graph"))  # type: ignore[return-value]


def test_keys_are_those_of_torchvision_without_the_classifier() -> None:
    with torch.device("meta"):
        theirs = vgg16(weights=None).state_dict()
    trunk = {key: v.shape for key, v in theirs.items() if not key.startswith("classifier.")}
    ours = {key: v.shape for key, v in build("lesion_graph").state_dict().items()}
    assert list(ours.items()) == list(trunk.items())


def test_torchvisions_weights_are_taken_with_their_classifier(filled: LesionGraph) -> None:
    network = build("lesion_graph")
    state = {**filled.state_dict(), "classifier.0.bias": torch.zeros(4096)}
    load_into(network, state, "vgg16-397923af.pth", PUBLISHED["lesion-graph"].left_over)
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in filled.state_dict().items())


def test_scales_are_the_greatest_activations_of_torchvisions_network(filled: LesionGraph) -> None:
    with torch.device("meta"):
        theirs = vgg16(weights=None)
    theirs.load_state_dict(filled.state_dict(), strict=False, assign=True)
    patches, _ = _lesions(2)
    whole = torch.tensor([[0.0, 0.0, 31.0, 31.0]]).expand(2, -1)
    grey = patches * 255 + 50
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = (grey / 255 - mean[:, None, None]) / deviation[:, None, None]
    scales = []
    for index, layer in enumerate(theirs.features):
        features = layer(features)
        if index in (8, 15, 22, 29):  # ReLU of conv2_2, conv3_3, conv4_3, conv5_3
            scales.append(torch.nn.functional.normalize(features.amax(dim=(2, 3))))
    expected = torch.cat(scales, dim=1) / 2
    torch.testing.assert_close(filled(patches, whole), expected, rtol=1e-4, atol=1e-6)


def test_embedding_has_1408_numbers_of_length_1(filled: LesionGraph) -> None:
    with torch.inference_mode():
        embedding = filled(*_lesions(3))
    assert embedding.shape == (3, 1408)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_box_reaches_the_first_two_scales_alone(filled: LesionGraph) -> None:
    patches, boxes = _lesions(1)
    with torch.inference_mode():
        change = filled(patches, boxes) - filled(patches, boxes + 6)
    assert change[:, :128].abs().max() > 1e-3
    assert change[:, 128:384].abs().max() > 1e-3
    assert change[:, 384:].abs().max() == 0


def test_one_sequence_is_learned() -> None:
    torch.manual_seed(0)
    network = build("lesion_graph")
    patches, boxes = _lesions(5)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    margins = (0.1, 0.2, 0.4)
    learn_by_heart(
        lambda: sequence_loss(network(patches, boxes)[None], margins), optimizer, 30, share=0.02
    )
    embedding = network(patches, boxes)
    distances = (embedding[0] - embedding[1:]).norm(dim=1)
    assert (distances.diff() > 0).all()


def test_loss_equals_a_worked_example() -> None:
    # Squared distances to A: 0.5, 0.5, 1.0, 1.2; they lack 0.1, 0 and 0.2.
    squared = torch.tensor([0.0, 0.5, 0.5, 1.0, 1.2], dtype=torch.float64)
    embeddings = torch.stack([squared.sqrt(), torch.zeros(5, dtype=torch.float64)], dim=1)
    loss = sequence_loss(embeddings[None], (0.1, 0.2, 0.4))
    assert loss.item() == pytest.approx((0.1 + 0 + 0.2) / 2)


def test_sequences_relax_type_place_and_size_in_turn() -> None:
    lesions = _attributes(300)
    rule = SequenceRule(similar_below=0.2, dissimilar_above=0.3)
    sequences = sample_sequences(lesions, 400, rule, seeded(1))
    assert sequences.shape == (400, 5)
    a, b, c, d, e = sequences.T
    like_a = [("b", b), ("c", c), ("d", d)]
    apart = {i: np.linalg.norm(lesions.place[a] - lesions.place[j], axis=1) for i, j in like_a}
    differ = {i: np.linalg.norm(lesions.size[a] - lesions.size[j], axis=1) for i, j in like_a}
    assert (a != b).all()
    for same in (b, c, d):
        assert (lesions.type[a] == lesions.type[same]).all()
    assert (lesions.type[a] != lesions.type[e]).all()
    assert (apart["b"] < 0.2).all()
    assert (apart["c"] < 0.2).all()
    assert (apart["d"] > 0.3).all()
    assert (differ["b"] < 0.2).all()
    assert (differ["c"] > 0.3).all()


def test_lesions_of_unknown_type_or_place_are_in_no_sequence() -> None:
    lesions = _attributes(300)
    lesions.type[:150:2] = -1
    lesions.place[1:150:2] = np.nan
    rule = SequenceRule(similar_below=0.3, dissimilar_above=0.3)
    sequences = sample_sequences(lesions, 300, rule, seeded(2))
    assert not np.isin(sequences, np.arange(0, 150, 2)).any()
    assert not np.isin(sequences[:, :4], np.arange(1, 150, 2)).any()  # E needs a type alone


def test_lesions_without_a_sequence_are_told_so() -> None:
    lesions = _attributes(20)
    of_one_type = LesionAttributes(np.zeros(20, int), lesions.place, lesions.size)
    with pytest.raises(ValueError, match="none of 20 lesions has others that share its type"):
        sample_sequences(of_one_type, 1, SequenceRule(), seeded(0))


def _lesions(count: int) -> tuple[Tensor, Tensor]:
    """Small patches of noise with a box each."""
    patches = torch.from_numpy(seeded(3).random((count, 3, 32, 32)).astype(np.float32)) - 0.2
    return patches, torch.tensor([[4.0, 6.0, 20.0, 22.0]]).expand(count, -1).contiguous()


def _attributes(count: int) -> LesionAttributes:
    random = seeded(0)
    types = random.integers(0, 3, count)
    return LesionAttributes(types, random.random((count, 3)), random.random((count, 2)))
