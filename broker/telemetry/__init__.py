"""What the broker tells of itself over HTTP: metrics, health, readiness. Reads, and changes nothing."""
