"""Tables, schemas, versions and errors; DuckDB and LanceDB live here."""
