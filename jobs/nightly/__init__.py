"""The nightly batch: jobs for each day, once the audit says that the day is there."""
