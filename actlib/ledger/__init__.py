"""The ledger: every published figure that has weights, and what it came to when it was measured here.

`book` is its file, `figures` its rows as they follow from the table of published weights, `data` the data sets that are
here, `reproduce` measures what can be measured, by notebook 04; `command` is `python -m actlib ledger`.
"""
