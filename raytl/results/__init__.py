"""What is recorded: schemas, the ledger of commits, tables, statistics, TensorBoard and the report."""
