"""What happened: the journal, the follow ledger, the metrics."""
