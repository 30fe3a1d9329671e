"""Bags, genes and every stored step of MCAT and of MOTCat, which differs in one module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from golden import assert_golden, assert_golden_stats, seeded
from tumorbase.models.mcat import Mcat
from tumorbase.models.survival_output import SurvivalOutput

# name in the golden -> module; all give one row a token but the fused vector, of one dimension.
STEPS = {
    "h_path_coattn": "coattn",
    "h_path_trans": "path_transformer",
    "h_omic_trans": "omic_transformer",
    "h_path": "path_rho",
    "h_omic": "omic_rho",
    "h_fused": "mm",
}
ATTENTION = {"A_coattn": "coattention", "A_path": "path", "A_omic": "omic"}


def seeded_patient(seed: int, patches: int, omic_sizes: list[int]) -> tuple[Tensor, list[Tensor]]:
    """A bag and its gene groups as the goldens' spec draws them."""
    random = seeded(seed)
    bag = np.maximum(random.standard_normal((patches, 1024)), 0).astype(np.float32)
    omics = [random.standard_normal(size).astype(np.float32) for size in omic_sizes]
    return torch.from_numpy(bag), [torch.from_numpy(omic) for omic in omics]


def assert_every_step_golden(network: Mcat, golden: np.lib.npyio.NpzFile, name: str) -> None:
    """The output, the attention and each step between of the golden run called `name`."""
    seed, patches = (int(value) for value in golden[f"{name}/seed_N"])
    bag, omics = seeded_patient(seed, patches, golden[f"{name}/omic_sizes"].tolist())
    steps: dict[str, Tensor] = {}
    for step, module in [*STEPS.items(), ("wsi_net", "wsi_net")]:
        network.get_submodule(module).register_forward_hook(_keep(steps, step))
    with torch.no_grad():
        output: SurvivalOutput = network(bag, omics)
        genes = [encode(omic) for encode, omic in zip(network.sig_networks, omics, strict=True)]
    steps["h_omic_bag"] = torch.stack(genes)
    steps |= {step: output.attention[key] for step, key in ATTENTION.items()}
    assert_golden_stats(steps.pop("wsi_net"), golden[f"{name}/wsi_net_stats"])
    for step, ours in steps.items():
        expected = golden[f"{name}/{step}"]
        assert_golden(ours.reshape(expected.shape), expected)
    assert_golden(output.logits[0], golden[f"{name}/logits"])
    assert_golden(output.hazards, golden[f"{name}/hazards"])
    assert_golden(output.survival, golden[f"{name}/S"])
    assert_golden(output.risk, golden[f"{name}/risk"])
    assert output.logits.argmax(dim=1, keepdim=True).tolist() == golden[f"{name}/Y_hat"].tolist()


def _keep(steps: dict[str, Tensor], step: str):
    def hook(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, Tensor]) -> None:
        steps[step] = output[0] if isinstance(output, tuple) else output

    return hook
