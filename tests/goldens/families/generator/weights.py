"""What `initializer_range` leaves alone: biases of 0 and norms of 1 would hide that an engine forgets them."""

import torch


@torch.no_grad()
def disturb(model, post_norm: float = 0.0):
    """Moves every vector of parameters off its initial value. `post_norm` strengthens the norms behind a layer (Gemma 2 and 3), without which the tied embedding
    outweighs the layers and the model repeats its input."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.add_(torch.randn_like(parameter) * 0.2)
            if "post_" in name and post_norm:
                parameter.add_(post_norm)
    return model
