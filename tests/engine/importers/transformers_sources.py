"""Makes folders as Hugging Face transformers saves them: in the Python of the toolkit `transformers`."""

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {**SMALL, "vocab_size": 100}
SPEECH = {
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100}


def both() -> CLIPModel:
    config = CLIPConfig(
        text_config={**TEXT, "eos_token_id": 1},
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    return CLIPModel(config)


torch.manual_seed(0)
MODELS = {
    "bert": BertForSequenceClassification(BertConfig(**TEXT)),
    "llama": LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, **TEXT)),
    "t5": T5ForConditionalGeneration(T5Config(decoder_start_token_id=0, **T5)),
    "vit": ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **SMALL)),
    "speech": Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **SPEECH)),
    "both": both(),
}
for name, model in MODELS.items():
    model.save_pretrained(name)
MODELS["bert"].save_pretrained("sharded", max_shard_size="20KB")
