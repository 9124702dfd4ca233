"""What happened: the journal, the follow ledger, the metrics, the status page.

Begin with `record.py`, one line, all its columns and what fills them; `journal.py` writes it, and
nobody waits for the disk (`writing.py`). `ledger.py` follows each device after its 451.
"""
