"""What is stored: tables, the database behind them, and its migrations."""
