"""A tokenizer.json of the library `tokenizers`, and the token ids that it makes of texts."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from whetstone.contract.texts import Side, Texts
from workers.engine.data.errors import InvalidDataset

Ids = NDArray[np.int64]
HINT = (
    "Save it with tokenizer.save('tokenizer.json'), of a fast tokenizer of transformers with .backend_tokenizer first."
)


@dataclass(frozen=True)
class Tokens:
    """Ids, masks and types, each (texts, max_length), and how many tokens the longest text has."""

    arrays: tuple[Ids, Ids, Ids]
    longest: int


class TextTokenizer:
    def __init__(self, tokenizer: Tokenizer, how: Texts, pad: int) -> None:
        self._tokenizer, self._how, self._pad = tokenizer, how, pad

    def tokens(self, texts: list[tuple[str, ...]], places: list[str]) -> Tokens:
        """Texts, one or a pair each, cut and padded as declared. Raises InvalidDataset, naming the text's place."""
        ids = np.full((len(texts), self._how.max_length), self._pad, np.int64)
        mask, types, longest = np.zeros_like(ids), np.zeros_like(ids), 0
        for row, encoding in enumerate(self._encoded(texts, places)):
            count = len(encoding.ids)
            if not count:
                raise InvalidDataset(f"{places[row]}: the text has no tokens.", hint="Leave such lines out.")
            where = slice(-count, None) if self._how.pad_side is Side.LEFT else slice(count)
            ids[row, where], mask[row, where], types[row, where] = encoding.ids, 1, encoding.type_ids
            longest = max(longest, count)
        return Tokens((ids, mask, types), longest)

    def _encoded(self, texts: list[tuple[str, ...]], places: list[str]) -> list[Encoding]:
        given = [text[0] if len(text) == 1 else text for text in texts]
        try:
            return self._tokenizer.encode_batch_fast(given, add_special_tokens=self._how.special_tokens)
        except BaseException as error:
            if _is_no_fault_of_the_file(error):
                raise
            if len(texts) == 1:
                raise InvalidDataset(f"{places[0]}: the tokenizer fails: {error}", hint=HINT) from error
        return [self._encoded([text], [place])[0] for text, place in zip(texts, places, strict=True)]


def open_tokenizer(content: bytes, how: Texts) -> TextTokenizer:
    """Raises InvalidDataset, where it cannot be read or has no padding token."""
    try:
        told = json.loads(content)
        tokenizer = Tokenizer.from_str(content.decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(how.max_length, strategy="longest_first")
    except BaseException as error:
        if _is_no_fault_of_the_file(error):
            raise
        raise InvalidDataset(f"tokenizer.json cannot be used: {str(error)[:300]}", hint=HINT) from error
    room = how.max_length - tokenizer.num_special_tokens_to_add(len(how.columns) > 1) * how.special_tokens
    if room < 1:
        raise InvalidDataset(f"A `max_length` of {how.max_length} leaves no room beside the special tokens.")
    return TextTokenizer(tokenizer, how, _pad_id(tokenizer, told.get("padding"), how.pad_token))


def _pad_id(tokenizer: Tokenizer, own: dict[str, object] | None, declared: str | None) -> int:
    """Of the token that is declared, else of the one that the file tells."""
    if declared is None and own is None:
        raise InvalidDataset(
            "tokenizer.json does not say what to pad with.", hint="Declare `pad_token`, such as '[PAD]' or '<pad>'."
        )
    token = declared if declared is not None else str((own or {}).get("pad_token"))
    found = tokenizer.token_to_id(token)
    if found is None:
        raise InvalidDataset(f"The tokenizer has no token '{token[:200]}' to pad with.")
    return found


def _is_no_fault_of_the_file(error: BaseException) -> bool:
    """The library's panics are no Exception, but KeyboardInterrupt and the like are none of its."""
    return isinstance(error, InvalidDataset | MemoryError | KeyboardInterrupt | SystemExit | GeneratorExit)
