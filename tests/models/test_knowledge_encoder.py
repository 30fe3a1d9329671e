"""The knowledge encoder brings the texts of a diagnosis together, whatever tower it has."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from tumorbase.models.knowledge_encoder import (
    ClipText,
    Diagnosis,
    HubText,
    KnowledgeEncoder,
    TextPair,
    contrastive_loss,
    knowledge_pairs,
)
from tumorbase.models.networks import build
from tumorbase.models.radnet_vit import SliceViTConfig

KNEE = [
    Diagnosis("S82", "Fracture of lower leg", ("broken shin",), "A break of the tibia", "S80-S89"),
    Diagnosis("S83", "Dislocation of knee", ("torn cruciate ligament",), parent="S80-S89"),
    Diagnosis("D32", "Benign neoplasm of meninges", ("meningioma", "psammoma"), parent="D10-D36"),
]


class WordTransformer(nn.Module):
    """Stands in for a transformer of the hub: a vector for each word, whatever its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(512, 16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        """As the hub's, its output a tuple."""
        return (self.words(input_ids),)


def tokenize(texts: Sequence[str], padding: bool, truncation: bool, return_tensors: str) -> dict:
    """Words to numbers from 1 to 511 by their hash, called as the tokenizers of the hub are."""
    words = [[1 + zlib.crc32(word.encode()) % 511 for word in text.split()] for text in texts]
    most = max(map(len, words))
    return {
        "input_ids": torch.tensor([one + [0] * (most - len(one)) for one in words]),
        "attention_mask": torch.tensor([[1] * len(w) + [0] * (most - len(w)) for w in words]),
    }


@pytest.fixture
def encoder() -> KnowledgeEncoder:
    """An untrained encoder of words."""
    torch.manual_seed(0)
    return build("knowledge_encoder", tower=HubText(WordTransformer(), tokenize))  # type: ignore[return-value]


def test_embeddings_have_unit_length_and_do_not_depend_on_padding(
    encoder: KnowledgeEncoder,
) -> None:
    texts = ["meningioma", "fracture of the lower leg", "knee"]
    together = encoder(texts)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(together, torch.cat([encoder([text]) for text in texts]))
    torch.testing.assert_close(encoder.embed(texts, batch_size=2), together.detach())


def test_the_first_token_can_stand_for_the_text() -> None:
    transformer = WordTransformer()
    encoder = build("knowledge_encoder", tower=HubText(transformer, tokenize, pooling="first"))
    torch.testing.assert_close(encoder(["knee joint"]), encoder(["knee"]))
    with pytest.raises(ValueError, match="pooling must be mean or first, got 'last'"):
        HubText(transformer, tokenize, pooling="last")


def test_an_open_clip_text_tower_plugs_in() -> None:
    import open_clip

    torch.manual_seed(0)
    clip = open_clip.CLIP(
        embed_dim=24,
        vision_cfg={"layers": 1, "width": 64, "patch_size": 16, "image_size": 32},
        text_cfg={"layers": 1, "width": 64, "heads": 2},
    )
    encoder = build(
        "knowledge_encoder", tower=ClipText(clip, open_clip.get_tokenizer("ViT-B-32"))
    ).eval()
    embeddings = encoder.embed(["meningioma", "broken shin"])
    assert embeddings.shape == (2, 24)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embeddings[:1], encoder.embed(["meningioma"]))


def test_pairs_come_from_synonyms_definitions_and_the_tree() -> None:
    pairs = knowledge_pairs(KNEE)
    assert [(pair.right, pair.concept) for pair in pairs["synonym"]] == [
        ("broken shin", "S82"),
        ("torn cruciate ligament", "S83"),
        ("meningioma", "D32"),
        ("psammoma", "D32"),
    ]
    assert pairs["definition"] == [TextPair("Fracture of lower leg", "A break of the tibia", "S82")]
    assert pairs["sibling"] == [TextPair("Fracture of lower leg", "Dislocation of knee", "S80-S89")]


def test_contrastive_loss_is_that_of_a_worked_example() -> None:
    """Three pairs, the first two of one concept: each finds two right texts, the third one."""
    left = torch.eye(3)
    right = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    scale = torch.tensor(2.0)
    log_sum = torch.logsumexp(torch.tensor([2.0, 0.0, 0.0]), dim=0)
    expected = ((log_sum - 1) * 2 + (log_sum - 2)) / 3  # right ones count a half each
    loss = contrastive_loss(left, right, torch.tensor([7, 7, 5]), scale)
    torch.testing.assert_close(loss, expected)


def test_one_batch_is_learned_by_heart(encoder: KnowledgeEncoder) -> None:
    pairs = [pair for pair in knowledge_pairs(KNEE)["synonym"] if pair.right != "psammoma"]
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.05)
    first = encoder.loss(pairs).item()
    for _ in range(40):
        optimiser.zero_grad()
        encoder.loss(pairs).backward()
        optimiser.step()
    assert encoder.loss(pairs).item() < 0.05 * first
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    names = encoder.embed([pair.left for pair in pairs])
    nearest = (names @ encoder.embed([pair.right for pair in pairs]).T).argmax(dim=1)
    assert nearest.tolist() == [0, 1, 2]


def test_texts_are_the_classes_of_radnet(encoder: KnowledgeEncoder) -> None:
    vit = SliceViTConfig(image_px=16, patch_px=16, width=8, layers=1, heads=1, feed_forward=8)
    network = build("radnet", n_classes=3, knowledge_dim=16, vit=vit).eval()
    names = encoder.embed([diagnosis.name for diagnosis in KNEE])
    images, marks = torch.rand(1, 1, 2, 16, 16), torch.ones(1, 1, 2, dtype=torch.bool)
    with torch.inference_mode():
        output = network(images, marks, torch.tensor([[1]]), names)
    assert output.logits.shape == (1, 3)
