# The other database engine.
cluster:
  database:
    engine: mariadb
