"""The keys of a broker's configuration by family; `broker/config.py` puts them together. Kafka's names, meanings and defaults.

Where a default differs from Kafka's, the field says why. Only keys that do something are known.
"""
