"""Tiny transformers models with their own tokenizers, saved to a folder like real ones."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

CORPUS = ("a warm lamp for the desk", "a wooden chair", "一把木椅", "a kettle that boils water", "一盏台灯") * 4
POSITIONS = 64


def bert(folder: Path) -> Path:
    """An encoder with [CLS], [SEP], [PAD] and [UNK]; its vocabulary is the corpus's English words."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    english = [text for text in CORPUS if text.isascii()]
    trainer = trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator(english, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(wrapped), max_position_embeddings=POSITIONS, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2,
    )  # fmt: skip
    return _save(folder, BertModel, config, wrapped)


def gpt2(folder: Path, padding_side: str = "right") -> Path:
    """A decoder with learned positions and, like the real GPT-2, no padding token."""
    tokenizer = _byte_level(padding_side)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=2)
    return _save(folder, GPT2Model, config, tokenizer)


def llama(folder: Path, padding_side: str = "right") -> Path:
    """A decoder with rotary positions."""
    tokenizer = _byte_level(padding_side)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    return _save(folder, LlamaModel, config, tokenizer)


def _byte_level(padding_side: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", padding_side=padding_side)


def _save(
    folder: Path, kind: type[PreTrainedModel], config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> Path:
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
