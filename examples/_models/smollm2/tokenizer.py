"""Text to token numbers and back, and how a conversation is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.decoders import DecodeStream


class ChatTokenizer:
    """Byte-level byte-pair encoding as in GPT-2, but every digit is a piece of its own.

    Parameters
    ----------
    tokens : sequence of str
        The vocabulary, in the byte-level alphabet.
    merges : sequence of str
        Pairs to join, in order, each written ``left right``.
    control_tokens : iterable of int
        Numbers of the tokens that no text can spell, such as the end of a message.
    """

    def __init__(
        self, tokens: Sequence[str], merges: Sequence[str], control_tokens: Iterable[int]
    ) -> None:
        self.numbers = {token: number for number, token in enumerate(tokens)}
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
        self.tokenizer = Tokenizer(models.BPE(vocab=self.numbers, merges=pairs))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        self.tokenizer.decoder = decoders.ByteLevel()
        control = [AddedToken(tokens[number], special=True) for number in control_tokens]
        self.tokenizer.add_special_tokens(control)
        # A user who types <|im_end|> has typed ten characters and ended no message.
        self.tokenizer.encode_special_tokens = True

        self.start_of_message = self.numbers["<|im_start|>"]
        self.end_of_message = self.numbers["<|im_end|>"]
        self.end_of_text = self.numbers["<|endoftext|>"]

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text."""
        numbers: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return numbers

    def message(self, role: str, content: str) -> list[int]:
        """Write a message in ChatML: ``<|im_start|>role⏎content<|im_end|>⏎``."""
        return [
            self.start_of_message,
            *self.encode(f"{role}\n{content}"),
            *self.end(),
        ]

    def start(self, role: str) -> list[int]:
        """Begin a message that is still to be written."""
        return [self.start_of_message, *self.encode(f"{role}\n")]

    def end(self) -> list[int]:
        """End a message."""
        return [self.end_of_message, *self.encode("\n")]

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Text of tokens as they come; a character of several tokens appears with its last."""
        stream = DecodeStream(skip_special_tokens=False)
        for token in tokens:
            text = stream.step(self.tokenizer, token)
            if text:
                yield text
