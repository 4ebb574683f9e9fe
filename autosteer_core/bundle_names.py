"""The files of a bundle."""

CARD, WEIGHTS, SIGNATURE = "card.json", "weights.safetensors", "signature.json"
