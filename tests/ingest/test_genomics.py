"""Genomic tables: a profile a row, encoded by gene groups or principal components."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from snn_weights import save_snn
from tumorbase.ingest.genomics import read_genomics_table, read_signatures
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.models.encoders import Runtime
from tumorbase.models.gene_pca import GenePca
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.errors import BadInput
from tumorbase.store.schema import METADATA

TABLE = """patient_id,TP53_rnaseq,KRAS_rnaseq,TP53_mut
P1,1,2,1
P2,3,,0
P3,-1,0.5,0
P4,0,1,1
"""


def read(tmp_path: Path, text: str, signatures: str | None = None) -> ItemRows:
    """The rows of a genomic table with this text, and of a signatures.csv beside it."""
    path = tmp_path / "genes.csv"
    path.write_text(text)
    files = [str(path)]
    if signatures is not None:
        (tmp_path / "signatures.csv").write_text(signatures)
        files.append(str(tmp_path / "signatures.csv"))
    item = Item("genomics_table", "table:c/genes.csv", str(path), tuple(files))
    return read_genomics_table(item, Context(tmp_path))


def reasons(rows: ItemRows) -> list[str]:
    return [found.reason for found in rows.rejected]


def staged(path: str) -> pa.Table:
    with pa.OSFile(path) as source:
        return pa.ipc.open_stream(source).read_all()


def test_profile_has_the_panel_in_order_and_nan_where_empty(tmp_path) -> None:
    rows = read(tmp_path, TABLE)
    for name, table in rows.tables.items():
        assert table.schema == METADATA[name]
    (panel,) = rows.tables["panel"].to_pylist()
    assert panel["columns"] == ["TP53_rnaseq", "KRAS_rnaseq", "TP53_mut"]
    profiles = rows.tables["profile"].to_pylist()
    assert {profile["panel_id"] for profile in profiles} == {panel["panel_id"]}
    np.testing.assert_array_equal(profiles[1]["measured"], [3.0, np.nan, 0.0])
    assert len({profile["profile_id"] for profile in profiles}) == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("P5,nan,1,0", "line 6: TP53_rnaseq must be a finite number, got 'nan'"),
        ("P5,1,inf,0", "line 6: KRAS_rnaseq must be a finite number, got 'inf'"),
        ("P5,1,1e39,0", "line 6: KRAS_rnaseq must be at most 1e+18 by size, got '1e39'"),
        ("P5,1,1,yes", "line 6: TP53_mut must be a finite number, got 'yes'"),
        ("P1,1,1,0", "line 6: duplicate patient, first in line 2"),
    ],
)
def test_bad_profile_is_rejected_and_the_others_stay(tmp_path, row: str, reason: str) -> None:
    rows = read(tmp_path, TABLE + row + "\n")
    assert reasons(rows) == [reason]
    assert rows.tables["profile"]["patient_id"].to_pylist() == ["P1", "P2", "P3", "P4"]


def test_gene_of_texts_is_left_out_by_name(tmp_path) -> None:
    rows = read(tmp_path, "patient_id,TP53_rnaseq,KRAS_cnv\nP1,1,x\nP2,2,y\n")
    assert reasons(rows) == [
        "column KRAS_cnv holds no number: expected GENE_rnaseq, GENE_cnv or GENE_mut"
    ]
    assert rows.tables["panel"]["columns"].to_pylist() == [["TP53_rnaseq"]]


def test_labels_of_a_published_table_are_no_genes_and_are_named(tmp_path) -> None:
    labels = "case_id slide_id site is_female oncotree_code age survival_months censorship train"
    table = f""",patient_id,{labels.replace(" ", ",")},TP53,TP53_rnaseq
0,P1,P1,P1.svs,2,0,BLCA,63,2.1,0,1.0,5,0.5
1,P2,P2,P2.svs,2,1,BLCA,59,9.9,1,0.0,6,0.7
"""
    rows = read(tmp_path, table)
    assert rows.tables["panel"]["columns"].to_pylist() == [["TP53_rnaseq"]]
    assert [row["measured"] for row in rows.tables["profile"].to_pylist()] == [
        [0.5],
        [pytest.approx(0.7)],
    ]
    assert reasons(rows) == [
        "columns that are no genes by their names are left out: one without a name, "
        f"{labels.replace(' ', ', ')}, TP53; expected GENE_rnaseq, GENE_cnv or GENE_mut"
    ]


def test_table_without_genes_is_refused_whole(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"expected GENE_rnaseq.* got patient_id, TP53, age$"):
        read(tmp_path, "patient_id,TP53,age\nP1,1,60\n")


def test_without_signatures_profiles_are_encoded_by_components_kept_with_them(tmp_path) -> None:
    (vectors,) = read(tmp_path, TABLE).vectors
    assert vectors.spec.name == "gene-pca"
    again = GenePca.from_bytes(vectors.artefact)
    assert again.spec == vectors.spec
    measured = read(tmp_path, TABLE).tables["profile"]["measured"].to_pylist()
    np.testing.assert_allclose(
        staged(vectors.path)["vector"].to_pylist(), again.encode(np.array(measured)), atol=1e-6
    )


def test_same_table_gives_the_same_encoder(tmp_path) -> None:
    first, second = read(tmp_path, TABLE).vectors[0], read(tmp_path, TABLE).vectors[0]
    assert first.spec.encoder_id == second.spec.encoder_id


def test_with_signatures_a_score_is_the_mean_of_what_is_there(tmp_path) -> None:
    rows = read(tmp_path, TABLE, "Suppressors,Oncogenes\nTP53,KRAS\n,EGFR\n")
    (vectors,) = rows.vectors
    assert vectors.spec.name == "gene-signatures"
    assert vectors.artefact == b""
    scores = dict(
        zip(vectors.spec.feature_names, staged(vectors.path)["vector"].to_pylist()[1], strict=True)
    )
    assert scores == {
        "Suppressors_rnaseq": 3.0,
        "Suppressors_cnv": 0.0,
        "Suppressors_mut": 0.0,
        "Oncogenes_rnaseq": 0.0,
        "Oncogenes_cnv": 0.0,
        "Oncogenes_mut": 0.0,
    }


def test_signatures_without_a_gene_of_the_panel_leave_it_to_components(tmp_path) -> None:
    (vectors,) = read(tmp_path, TABLE, "Others\nBRAF\n").vectors
    assert vectors.spec.name == "gene-pca"


def test_two_profiles_are_stored_but_not_encoded(tmp_path) -> None:
    rows = read(tmp_path, "patient_id,A_rnaseq\nP1,1\nP2,2\n")
    assert rows.tables["profile"].num_rows == 2
    assert rows.vectors == []


def test_six_published_groups_are_read(shared) -> None:
    groups = read_signatures(str(shared / "data/genomics/mcat/signatures.csv"))
    assert len(groups) == 6
    assert "TP53" in groups["Tumor Suppressor Genes"]
    assert all("" not in genes for genes in groups.values())


def test_a_network_encodes_profiles_beside_the_built_in_encoders(tmp_path: Path) -> None:
    columns = ["KRAS_rnaseq", "TP53_rnaseq"]
    save_snn(tmp_path, columns)
    (tmp_path / "genes.csv").write_text(TABLE)
    item = Item("genomics_table", "table:c", "genes.csv", (str(tmp_path / "genes.csv"),))
    item = replace(item, path=item.files[0])
    context = Context(tmp_path, ("snn",), Runtime(weights=tmp_path))
    network, components = read_genomics_table(item, context).vectors
    assert (network.spec.name, network.rows) == ("snn", 4)
    assert components.spec.name == "gene-pca"


def test_a_table_of_another_panel_than_a_networks_goes_without_its_vectors(tmp_path: Path) -> None:
    save_snn(tmp_path, ["MYC_rnaseq", "EGFR_rnaseq", "TP53_mut"])
    path = tmp_path / "genes.csv"
    path.write_text(TABLE)
    item = Item("genomics_table", "table:c", str(path), (str(path),))
    rows = read_genomics_table(item, Context(tmp_path, ("snn",), Runtime(weights=tmp_path)))
    assert rows.tables["profile"].num_rows == 4
    assert [vectors.spec.name for vectors in rows.vectors] == ["gene-pca"]
    (reason,) = reasons(rows)
    assert reason == (
        "has no vectors of snn: expected at least half of the 3 columns of snn, got 1"
    )


def test_weights_that_do_not_fit_are_not_blamed_on_the_table(tmp_path: Path) -> None:
    path = save_snn(tmp_path, ["KRAS_rnaseq", "TP53_rnaseq"]) / "snn.safetensors"
    with safe_open(path, "pt") as file:
        notes = file.metadata()
    state = {k: v for k, v in load_file(path).items() if k != "classifier.bias"}
    save_file(state, path, notes)
    item = Item("genomics_table", "table:c", str(tmp_path / "g.csv"), (str(tmp_path / "g.csv"),))
    (tmp_path / "g.csv").write_text(TABLE)
    with pytest.raises(UnusableWeights, match=r"missing: classifier\.bias"):
        read_genomics_table(item, Context(tmp_path, ("snn",), Runtime(weights=tmp_path)))
