"""What models and backends share inside Triton."""
