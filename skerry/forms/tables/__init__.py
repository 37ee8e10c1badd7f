"""Server-side printing: the columns that `kubectl get` shows. Data and pure functions, a file for each group."""
