"""The audit: what agents have announced, what tables testify, the verdict on each window."""
