"""How the three are trained: the model, its LoRA adapter, its embedding model. On the CPU, in minutes."""
