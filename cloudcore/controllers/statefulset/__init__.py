"""StatefulSets: pods that have a name, a number and storage of their own."""
