"""The layouts in which others read the weights: folders of Hugging Face's kind, PEFT adapters, GGUF."""
