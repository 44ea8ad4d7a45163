"""The wire: frames, headers and messages of the Kafka protocol, version by version, behind one interface."""
