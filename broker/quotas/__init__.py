"""Client quotas: what is set, for whom, and how fast clients go (KIP-13, KIP-55, KIP-124, KIP-546)."""
