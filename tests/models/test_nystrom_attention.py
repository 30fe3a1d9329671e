"""Attention through landmarks against softmax attention, and its pseudoinverse against torch's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tumorbase.models.nystrom_attention import NystromAttention, nystrom_attention, pseudoinverse


def clear_cut_heads(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (1, 2, tokens, 16), of tokens that look mostly at themselves."""
    generator = torch.Generator().manual_seed(0)
    query, value = torch.randn(2, 1, 2, tokens, 16, generator=generator, dtype=torch.float64)
    return 2.5 * query, 2.5 * query, value


def test_a_landmark_a_token_gives_softmax_attention() -> None:
    query, key, value = clear_cut_heads(tokens=24)
    attended = nystrom_attention(query, key, value, landmarks=24)
    exact = (query @ key.transpose(-2, -1) / 4.0).softmax(dim=-1) @ value
    torch.testing.assert_close(attended, exact, rtol=1e-4, atol=1e-4)


def test_landmarks_are_means_of_neighbouring_tokens() -> None:
    """With each token given three times over, a landmark stands for exactly what it is made of."""
    query, key, value = (heads.repeat_interleave(3, dim=2) for heads in clear_cut_heads(tokens=8))
    attended = nystrom_attention(query, key, value, landmarks=8)
    exact = (query @ key.transpose(-2, -1) / 4.0).softmax(dim=-1) @ value
    torch.testing.assert_close(attended, exact, rtol=1e-4, atol=1e-4)


def test_fewer_landmarks_follow_the_published_product() -> None:
    query, key, value = torch.randn(3, 1, 2, 12, 16, dtype=torch.float64)
    landmark_query, landmark_key = (
        torch.stack([heads[:, :, 3 * i : 3 * i + 3].mean(dim=2) for i in range(4)], dim=2)
        for heads in (query, key)
    )

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        return torch.softmax(left @ right.mT / 4.0, dim=-1)

    middle = pseudoinverse(kernel(landmark_query, landmark_key), iterations=6)
    expected = kernel(query, landmark_key) @ middle @ kernel(landmark_query, key) @ value
    attended = nystrom_attention(query, key, value, landmarks=4)
    torch.testing.assert_close(attended, expected)


def test_the_iteration_converges_to_the_moore_penrose_inverse() -> None:
    matrix = torch.randn(2, 3, 6, 6, dtype=torch.float64).softmax(dim=-1)
    inverse = pseudoinverse(matrix, iterations=30)
    torch.testing.assert_close(inverse, torch.linalg.pinv(matrix))


def test_the_first_iterate_is_divided_by_the_largest_column_of_all_heads_of_a_bag() -> None:
    """The published quirk: by its own column, a flat head would be divided by 1."""
    flat = [[0.5, 0.5], [0.5, 0.5]]
    bags = torch.tensor([[[[0.9, 0.1], [0.2, 0.8]], flat], [[[0.9, 0.1], [0.4, 0.6]], flat]])
    largest = torch.tensor([1.1, 1.3]).view(2, 1, 1, 1)
    torch.testing.assert_close(pseudoinverse(bags, iterations=0), bags.mT / largest)


def test_bags_of_a_batch_do_not_mix() -> None:
    attention = NystromAttention(dim=16, heads=2, landmarks=4).eval()
    bags = torch.randn(2, 9, 16)
    torch.testing.assert_close(attention(bags)[1:], attention(bags[1:]))


def test_padding_comes_first_and_is_attended_to() -> None:
    """As published; `values` are also mixed along the tokens by the convolution."""
    attention = NystromAttention(dim=16, heads=2, landmarks=4).eval()
    tokens = torch.randn(1, 6, 16)
    padded = F.pad(tokens, (0, 0, 2, 0))
    torch.testing.assert_close(attention(tokens), attention(padded)[:, 2:])


def test_values_are_convolved_along_the_tokens_of_each_head() -> None:
    attention = NystromAttention(dim=4, heads=2, landmarks=40).eval()
    with torch.no_grad():
        attention.to_qkv.weight.zero_()[8:] = torch.eye(4)  # all look at all alike
        attention.to_out[0].weight.copy_(torch.eye(4))
        attention.to_out[0].bias.zero_()
        attention.res_conv.weight.zero_()[1, 0, 16 + 3] = 1.0  # the second head looks 3 ahead
    tokens = torch.randn(1, 40, 4)
    mixed = attention(tokens) - nystrom_attention(
        *(torch.zeros(2, 1, 2, 40, 2)), tokens.unflatten(2, (2, 2)).transpose(1, 2), landmarks=40
    ).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mixed[:, :37, 2:], tokens[:, 3:, 2:])
    torch.testing.assert_close(mixed[..., :2], torch.zeros(1, 40, 2))
